/** OWASP API6:2023, Unrestricted Access to Sensitive Business Flows: one user does not buy the house. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buyerAt, type Buyer } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { addEvent } from '../support/house.ts';
import { tokenFor } from '../support/tokens.ts';

const LIMIT = 4;

let api: GuardedApi;
let event: Awaited<ReturnType<typeof addEvent>>;
beforeAll(async () => {
  api = await startGuardedApi();
  event = await addEvent(api.stores.database, 40);
  await api.stores.database.query('UPDATE events SET seats_per_user = $2 WHERE event_id = $1', [event.event_id, LIMIT]);
});
afterAll(() => api.stop());

const hold = (buyer: Buyer, seatIds: string[], userId?: string) => buyer.hold(event.event_id, seatIds, userId);

test('a user who asks for many seats at once, with several tokens, gets as many as the event allows', async () => {
  const tokens = [await tokenFor('ann'), await tokenFor('ann', { jti: 'another' })];
  const replies = await Promise.all(
    event.seat_ids.slice(0, 20).map((seatId, n) => hold(buyerAt(api.url, tokens[n % 2]), [seatId])),
  );
  expect(replies.filter(({ status }) => status === 201)).toHaveLength(LIMIT);
  for (const reply of replies.filter(({ status }) => status !== 201)) {
    expectProblem(reply, 409, 'SEAT_LIMIT_REACHED');
    expect(reply.body).toMatchObject({ limit: LIMIT, held: LIMIT });
  }
});

test('others have their own, and seats given back may be held again', async () => {
  const bob = await api.as('bob');
  const first = await hold(bob, event.seat_ids.slice(20, 20 + LIMIT), 'bob');
  expect(first.status).toBe(201);
  const more = () => hold(bob, event.seat_ids.slice(30, 31), 'bob');
  expectProblem(await more(), 409, 'SEAT_LIMIT_REACHED');
  expect((await bob.release(first.body.reservation_id)).status).toBe(200);
  expect((await more()).status).toBe(201);
});

test('more seats than a user may have are refused without a hold, and stay free', async () => {
  const carl = await api.as('carl');
  const tooMany = await hold(carl, event.seat_ids.slice(-LIMIT - 1), 'carl');
  expectProblem(tooMany, 409, 'SEAT_LIMIT_REACHED');
  expect(tooMany.body).toMatchObject({ limit: LIMIT, held: 0 });
  expect((await hold(carl, event.seat_ids.slice(-LIMIT), 'carl')).status).toBe(201);
});
