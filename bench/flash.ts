/** One event of 50,000 seats, popular rows first; of those who got seats some pay, some give them back, some wander off. */
import { setTimeout as delay } from 'node:timers/promises';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { openLoop, type Client, type Sample } from './load.ts';
import { STADIUM, stadiumSeat } from './scenarios.ts';

const SEATS_A_ROW = 50;
const ROWS = STADIUM.seats / SEATS_A_ROW;
const PAY_SHARE = 0.3;
const RELEASE_SHARE = 0.1;
const DECIDE_WITHIN_MS = 5_000;
const WAIT = { prefer: 'wait=20' };
/** Of what buyers want: two runs want the same seats. */
export const SEED = 20_261_124;

const Held = Type.Object({ reservation_id: Type.String() });

/** Row 1 is wanted twice as often as row 2 and a hundred times as often as row 100. (Zipf) */
function zipfRows(random: () => number): () => number {
  const upTo: number[] = [];
  for (let row = 0, sum = 0; row < ROWS; row++) upTo.push((sum += 1 / (row + 1)));
  const total = upTo.at(-1) ?? 1;
  return () => {
    const wanted = random() * total;
    let [low, high] = [0, ROWS - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((upTo[middle] ?? 0) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

/** Runs a flash; answers the attempts, and what came of the decisions of those who got seats. */
export async function flash(
  client: Client,
  perSecond: number,
  seconds: number,
  random: () => number,
): Promise<{ attempts: Sample[]; decisions: Sample[] }> {
  const nextRow = zipfRows(random);
  const decisions: Promise<Sample | undefined>[] = [];
  const start = performance.now();

  async function decide(reservationId: string): Promise<Sample | undefined> {
    const choice = random();
    if (choice > PAY_SHARE + RELEASE_SHARE) return undefined;
    await delay(random() * DECIDE_WITHIN_MS);
    const due = performance.now();
    const pays = choice < PAY_SHARE;
    const answer = pays
      ? client.call('POST', '/api/v1/bookings', { reservation_id: reservationId, payment_token: 'tok_visa' }, WAIT)
      : client.call('DELETE', `/api/v1/reservations/${reservationId}`);
    const status = await answer.then(({ status: it }) => String(it)).catch(() => 'ERROR');
    return { due_ms: due - start, latency_ms: performance.now() - due, kind: `${pays ? 'pay' : 'release'} ${status}` };
  }

  const attempts = await openLoop({
    per_second: perSecond,
    seconds,
    send: async (n) => {
      const first = nextRow() * SEATS_A_ROW + Math.floor(random() * (SEATS_A_ROW - 1));
      const seat_ids = [stadiumSeat(first), stadiumSeat(first + 1)];
      const body = { event_id: STADIUM.event_id, seat_ids, user_id: `buyer-${n}` };
      const answer = await client.call('POST', '/api/v1/reservations', body);
      if (answer.status === 201) decisions.push(decide(Value.Parse(Held, answer.body).reservation_id));
      return String(answer.status);
    },
  });
  return { attempts, decisions: (await Promise.all(decisions)).filter((it) => it !== undefined) };
}
