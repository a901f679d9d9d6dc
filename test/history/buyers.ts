/** The buyers of one history: what they mean to do comes from a seed; what becomes of it, from the product. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Pool } from 'pg';
import { until } from '../support/until.ts';
import { Recorder, isUnderWay, readFinalState, type History, type Patience } from './history.ts';
import { Random } from './random.ts';

export const CLIENTS = 8;
const DECISIONS_OF_EACH = 250;
export const OPERATIONS = CLIENTS * DECISIONS_OF_EACH;

const SETTLED_WITHIN_MS = 120_000;

/** What a client does next, to one of its latest holds where it is not a new one. */
interface Decision extends Patience {
  what: 'hold' | 'repeat' | 'pay' | 'release' | 'read' | 'map';
  seats: number[];
  payment_token: string;
  /** Only a hold with a key may be repeated. */
  isKeyed: boolean;
  /** Of its latest holds: 0 is the last one. */
  back: number;
  pause_ms: number;
}

/** How often each is done, of a hundred: refusals and reads are cheap, and what a buyer of a hot event sees. */
const SHARES: [Decision['what'], number][] = [
  ['hold', 40],
  ['repeat', 3],
  ['pay', 2],
  ['release', 1],
  ['read', 6],
  ['map', 48],
];

const WHATS = SHARES.flatMap(([what, share]) => Array.from({ length: share }, () => what));

const TOKENS = ['tok_visa', 'tok_declined', 'tok_declined', 'tok_declined', 'tok_declined', 'tok_lost_reply'];

/** All buyers want these few, and then the next: so most are refused, and one who pays does not end the sale. */
const HOT_SEATS = 4;
const HOT_SETS = 3;
/**
 * A grant costs as much as a hundred refusals: after so many, which depend on the seed, everybody wants a seat as well
 * that was sold before.
 */
const MOST_GRANTS = [8, 8, 8, Number.POSITIVE_INFINITY];
export const SEATS = HOT_SEATS * HOT_SETS + 1;

function hotSeats(decision: number): number[] {
  const first = HOT_SEATS * Math.floor((decision / DECISIONS_OF_EACH) * HOT_SETS);
  return Array.from({ length: HOT_SEATS }, (_, n) => first + n);
}

/** Everything that one client decides, whatever it is answered: each decision takes the same numbers of the seed. */
function decisionsOf(random: Random): Decision[] {
  return Array.from({ length: DECISIONS_OF_EACH }, (_, n) => ({
    what: random.pick(WHATS),
    seats: random.sample(hotSeats(n), random.pick([1, 2, 2, 3, 4])),
    payment_token: random.pick(TOKENS),
    isKeyed: random.chance(0.12),
    back: random.pick([0, 0, 0, 1, 2]),
    pause_ms: random.chance(0.02) ? random.int(0, 1_000) : 0,
    ...(random.chance(0.04) ? { give_up_after_ms: random.int(1, 20) } : {}),
  }));
}

interface Stage {
  url: string;
  database: Pool;
  temporal: Client;
  event_id: string;
  seat_ids: string[];
}

/** 8 clients, 2,000 calls; returns once all that they began has ended. */
export async function recordHistory(
  { url, database, temporal, event_id, seat_ids }: Stage,
  seed: number,
): Promise<History> {
  const recorder = new Recorder(url);
  const random = new Random(seed);
  const plans = Array.from({ length: CLIENTS }, () => decisionsOf(random));
  const mostGrants = random.pick(MOST_GRANTS);

  let grants = 0;
  const soldSeats = seat_ids.slice(-1);
  const opening = recorder.client(0, event_id);
  const opened = await opening.hold(`buyer-${seed}`, soldSeats);
  if (opened.outcome.type === 'ok') await opening.pay(opened.outcome.body.reservation_id, 'tok_visa');

  async function buy(plan: Decision[], process: number): Promise<void> {
    const client = recorder.client(process, event_id);
    const mine: string[] = [];
    const asked: { user_id: string; seat_ids: string[] }[] = [];
    for (const [n, { what, seats, payment_token, isKeyed, back, pause_ms, ...patience }] of plan.entries()) {
      if (pause_ms > 0) await delay(pause_ms);
      const id = mine.at(-1 - back) ?? mine.at(-1);
      const earlier = what === 'repeat' ? asked.at(-1 - back) : undefined;
      if (what === 'hold' || what === 'repeat') {
        const request = earlier ?? {
          user_id: `buyer-${seed}-${process}-${n}`,
          seat_ids: [...seats.flatMap((seat) => seat_ids[seat] ?? []), ...(grants < mostGrants ? [] : soldSeats)],
        };
        const hasKey = isKeyed || earlier !== undefined;
        if (hasKey) asked.push(request);
        const { outcome } = await client.hold(request.user_id, request.seat_ids, { ...patience, isKeyed: hasKey });
        if (outcome.type !== 'ok') continue;
        grants++;
        mine.push(outcome.body.reservation_id);
      } else if (what === 'map' || id === undefined) await client.readMap();
      else if (what === 'pay') await client.pay(id, payment_token, patience);
      else if (what === 'release') await client.release(id, patience);
      else await client.read(id);
    }
  }

  await Promise.all(plans.map((plan, n) => buy(plan, n + 1)));
  await until(
    'all that was begun has ended',
    async () => !(await isUnderWay(database, temporal, event_id)),
    SETTLED_WITHIN_MS,
  );
  const final = await readFinalState(database, event_id);
  const auditor = recorder.client(0, event_id);
  for (const { reservation_id } of final.reservations) await auditor.read(reservation_id);
  recorder.close();
  return { calls: recorder.calls, final };
}
