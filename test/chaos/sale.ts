/** A short sale: buyers who want the same few seats, and what is to be found when it is over. */
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NO_FAULTS, findFaults } from '../../audit/sweep.ts';
import { checkHistory } from '../history/checker.ts';
import { Recorder, isUnderWay, readFinalState, type FinalState } from '../history/history.ts';
import { Random } from '../history/random.ts';
import { addEvent } from '../support/house.ts';
import { replayReservations } from '../support/replays.ts';
import type { Booking, Reservation } from '../../domain/model.ts';
import type { BoxOffice } from './box-office.ts';
import { openGateway } from './gateway.ts';

/** What the box office's processes run. */
const WORKFLOWS = { codePath: resolve('dist/worker/workflows.bundle.js') };

const SEATS = 200;
const BUYERS = 10;
/** All buyers choose among this many seats that are not known to be sold. */
const HOT_SEATS = 30;
const MOST_SEATS = 3;
/** A buyer who got no answer asks again this often, as a good client does. */
const TRIES = 4;
const THINK_MS = [30, 250] as const;
const RETRY_MS = [200, 1_000] as const;
const ASK_MS = [100, 500] as const;
const PATIENCE = { give_up_after_ms: 6_000 };
/** How much later than its deadline everything is over, whatever failed. */
const STUCK_AFTER_MS = 60_000;
const LOOK_EVERY_MS = 100;
/** While something is away, seats are free later. */
const ALLOWANCES = { expiry_late_ms: STUCK_AFTER_MS };

/** What buyers pay with when nothing is asked of the gateway in particular. */
export const USUAL_TOKENS = ['tok_visa', 'tok_visa', 'tok_visa', 'tok_declined', 'tok_flaky', 'tok_lost_reply'];

/** As the recorder counts: milliseconds since the epoch, that never go back. */
export const now = () => performance.timeOrigin + performance.now();

/** Choices of their own for somebody who makes them at a time of his own. */
export const fork = (random: Random) => new Random(random.int(0, 2 ** 32 - 1));

type Client = ReturnType<Recorder['client']>;

/** Of a request whose answer nobody of ours waits for. */
const unanswered = () => ({
  process: BUYERS,
  invoked: now(),
  answered: Number.POSITIVE_INFINITY,
  outcome: { type: 'unknown', why: 'no answer was waited for' } as const,
});

export type Sale = Awaited<ReturnType<typeof openSale>>;

interface SaleOptions {
  /** What the buyers pay with. */
  tokens: readonly string[];
  /** Whether most of them pay on the gateway's own page. */
  paidAtGateway: boolean;
  /** Whether it will do that a lock which was brought back runs out in time: nobody has to wait for that. */
  locksRunOut: boolean;
}

/** Opens an event of its own, to which buyers come until it is closed. */
export async function openSale(office: BoxOffice, random: Random, { tokens, paidAtGateway, locksRunOut }: SaleOptions) {
  const { event_id, seat_ids } = await addEvent(office.database, SEATS);
  const recorder = new Recorder(office.url);
  const terminated = new Set<string>();
  const gateway = openGateway(office);
  const sold = new Set<string>();
  const grantedAt: number[] = [];
  const closing = new AbortController();

  const think = ([least, most]: readonly [number, number], mine: Random) =>
    delay(mine.int(least, most), undefined, { signal: closing.signal }).catch(() => undefined);

  /** Asks again while the outcome is not known, or the house is full. */
  async function insist<Call extends { outcome: { type: string } }>(mine: Random, ask: () => Promise<Call>) {
    let call = await ask();
    for (let tries = 1; tries < TRIES && call.outcome.type === 'unknown'; tries++) {
      await think(RETRY_MS, mine);
      call = await ask();
    }
    return call;
  }

  /** Asks for a booking until it is settled, or the house closes; answers whether the seats are sold. */
  async function isBooked(mine: Random, client: Client, booking: Booking): Promise<boolean> {
    for (let { status } = booking; !closing.signal.aborted; await think(ASK_MS, mine)) {
      if (status !== 'PENDING') return status === 'CONFIRMED';
      const { outcome } = await client.readBooking(booking);
      if (outcome.type === 'ok') ({ status } = outcome.body);
    }
    return false;
  }

  /** The same for a reservation, while it is held. */
  async function isConfirmed(mine: Random, client: Client, reservation: Reservation): Promise<boolean> {
    for (let { status } = reservation; !closing.signal.aborted; await think(ASK_MS, mine)) {
      if (status !== 'HELD') return status === 'CONFIRMED';
      const { outcome } = await client.read(reservation.reservation_id);
      if (outcome.type === 'ok') ({ status } = outcome.body);
    }
    return false;
  }

  /** Some wait for the outcome, the others ask for it later. */
  async function payHere(mine: Random, client: Client, { reservation_id }: Reservation): Promise<boolean> {
    const [token, send] = [mine.pick(tokens), mine.chance(0.6) ? client.pay : client.order];
    const { outcome } = await insist(mine, () => send(reservation_id, token, PATIENCE));
    return outcome.type === 'ok' && isBooked(mine, client, outcome.body);
  }

  /** Answers whether the seats are known to be sold. Some who have paid there pay once more. */
  async function payAtGateway(mine: Random, client: Client, reservation: Reservation): Promise<boolean> {
    const { reservation_id } = reservation;
    const at = unanswered();
    const told = await gateway.pay(reservation, mine);
    if (told !== 'never') recorder.calls.push({ name: 'pay', ...at, reservation_id });
    if (mine.chance(0.3)) return payHere(mine, client, reservation);
    return told === 'told' && isConfirmed(mine, client, reservation);
  }

  async function buy(buyer: number, mine: Random): Promise<void> {
    const client = recorder.client(buyer, event_id);
    for (let visit = 1; !closing.signal.aborted; visit++) {
      const hot = seat_ids.filter((seat) => !sold.has(seat)).slice(0, HOT_SEATS);
      const wanted = mine.sample(hot, mine.int(1, MOST_SEATS));
      const hold = await insist(mine, () => client.hold(`${event_id}-${buyer}-${visit}`, wanted, PATIENCE));
      await think(THINK_MS, mine);
      if (hold.outcome.type !== 'ok') continue;
      grantedAt.push(hold.answered);
      const { reservation_id } = hold.outcome.body;
      if (mine.chance(0.4)) {
        const pay = paidAtGateway && mine.chance(0.8) ? payAtGateway : payHere;
        if (await pay(mine, client, hold.outcome.body)) wanted.forEach((seat) => sold.add(seat));
      } else if (mine.chance(0.5)) {
        await insist(mine, () => client.release(reservation_id, PATIENCE));
      } else if (mine.chance(0.3)) {
        await client.read(reservation_id);
      }
    }
  }

  const buyers = Array.from({ length: BUYERS }, (_, n) => buy(n, fork(random)));

  /** Those that are still there when all has to be over. */
  async function locksThatStay(locks: string[]): Promise<string[]> {
    const left = await Promise.all(locks.map((lock) => office.redis.pttl(lock)));
    return locks.filter(
      (_, i) => (left[i] ?? -1) === -1 || (left[i] ?? 0) > office.holdSeconds * 1_000 + STUCK_AFTER_MS,
    );
  }

  /** No hold open, no payment or workflow under way, no lock left, no money but this; or what is there all the same. */
  async function leftovers(untold: string[]): Promise<string | undefined> {
    if (await isUnderWay(office.database, office.temporal, event_id))
      return 'holds, payments or workflows are under way';
    const faults = await findFaults(office);
    const locks = faults.stale_locks.filter((lock) => lock.startsWith(`seat_lock:{${event_id}}`));
    const stale_locks = locksRunOut ? await locksThatStay(locks) : locks;
    const found = JSON.stringify({ ...faults, wrong_money: faults.wrong_money.toSorted(), stale_locks });
    return found === JSON.stringify({ ...NO_FAULTS, wrong_money: untold.toSorted() }) ? undefined : found;
  }

  /** Looks until nothing else is left; answers what is left by the time when all has to be over. */
  async function leftInTheEnd(untold: string[]): Promise<string | undefined> {
    const deadline = now() + office.holdSeconds * 1_000 + STUCK_AFTER_MS;
    let left = await leftovers(untold).catch(String);
    while (left !== undefined && now() < deadline) {
      await delay(LOOK_EVERY_MS);
      left = await leftovers(untold).catch(String);
    }
    return left;
  }

  /** Money of which nobody tells is not booked and is named by the audit; once it is told of, it is given back. */
  async function settle(): Promise<string | undefined> {
    await gateway.allTold();
    const left = await leftInTheEnd(gateway.untold());
    if (left !== undefined) return left;
    await gateway.tellUntold();
    return leftInTheEnd([]);
  }

  /** Its audits end with it: a box office has many sales, one after the other. */
  const endEvent = () =>
    office.database.query(`UPDATE events SET date = now() - interval '1 day' WHERE event_id = $1`, [event_id]);

  /**
   * Redis is allowed to be wrong: a refusal may be for the lock of somebody whom PostgreSQL then refused as well, or
   * could not answer. So of refusals it is only asked that they name seats.
   */
  function judge(final: FinalState): string[] {
    const violations = checkHistory({ calls: recorder.calls, final, terminated }, ALLOWANCES);
    const unreasoned = recorder.calls.filter(
      ({ outcome }) =>
        outcome.type === 'fail' && outcome.code === 'SEATS_UNAVAILABLE' && outcome.conflicts.length === 0,
    );
    return [
      ...violations
        .filter(({ rule }) => rule !== 'refused for a reason')
        .map(({ rule, detail }) => `${rule}: ${detail}`),
      ...unreasoned.map(({ invoked }) => `refused at ${invoked} for no seat`),
    ];
  }

  return {
    event_id,
    recorder,
    grants: () => grantedAt.length,

    /** Somebody else asks for the end of a reservation, and does not wait for an answer. */
    noteRelease(reservation_id: string): void {
      recorder.calls.push({ name: 'release', ...unanswered(), reservation_id });
    },

    noteTermination(reservation_id: string): void {
      terminated.add(reservation_id);
    },

    /** Milliseconds from then to the next hold that is acknowledged; undefined where that takes longer than this. */
    async nextGrant(since: number, withinMs: number): Promise<number | undefined> {
      while (now() < since + withinMs) {
        const granted = grantedAt.find((at) => at > since);
        if (granted !== undefined) return granted - since;
        await delay(20);
      }
      return undefined;
    },

    /** The last buyers leave; then all is over in time. Answers what is wrong in the end. */
    async close(): Promise<string[]> {
      closing.abort();
      await Promise.all(buyers);
      recorder.close();
      const left = await settle();
      await endEvent();
      if (left !== undefined) return [...gateway.faults, `stuck: ${left}`];
      const { failed } = await replayReservations(office.temporal, WORKFLOWS, `EventId = '${event_id}'`);
      return [...gateway.faults, ...failed, ...judge(await readFinalState(office.database, event_id))];
    },
  };
}
