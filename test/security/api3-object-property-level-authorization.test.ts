/** OWASP API3:2023, Broken Object Property Level Authorization: what a buyer may set, and what an answer shows. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Event, Reservation, Seat } from '../../domain/model.ts';
import type { Buyer, ProblemBody } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { addEvent } from '../support/house.ts';

let api: GuardedApi;
let ann: Buyer;
let event: Awaited<ReturnType<typeof addEvent>>;
beforeAll(async () => {
  api = await startGuardedApi();
  ann = await api.as('ann');
  event = await addEvent(api.stores.database, 4);
  await api.stores.database.query('UPDATE events SET seats_per_user = 3 WHERE event_id = $1', [event.event_id]);
});
afterAll(() => api.stop());

test.each([
  ['reservation_id', 'res_mine'],
  ['status', 'CONFIRMED'],
  ['price', { amount: 1, currency: 'EUR' }],
  ['expires_at', '2099-01-01T00:00:00Z'],
  ['hold_seconds', 3_600],
  ['fence', '99'],
  ['booking_id', 'bkg_mine'],
  ['seats_per_user', 50],
  ['roles', ['operator']],
])('a hold takes no %s from its buyer', async (field, value) => {
  const body = { event_id: event.event_id, seat_ids: event.seat_ids.slice(0, 1), user_id: 'ann', [field]: value };
  expectProblem(await ann.call<ProblemBody>('POST', '/reservations', body), 400, 'INVALID_REQUEST');
});

test.each(['amount', 'price', 'currency', 'status', 'user_id', 'charge_id', 'booking_id'])(
  'a payment takes no %s from its buyer',
  async (field) => {
    const body = { reservation_id: 'res_1', payment_token: 'tok_visa', [field]: 'mine' };
    expectProblem(await ann.call<ProblemBody>('POST', '/bookings', body), 400, 'INVALID_REQUEST');
  },
);

test('an answer shows what is documented, and nothing of what is kept beside it', async () => {
  const fields = (schema: { properties: object }) => expect.arrayContaining(Object.keys(schema.properties));
  const held = await ann.hold(event.event_id, event.seat_ids.slice(0, 1));
  const { body: reservation } = await ann.reservation(held.body.reservation_id);
  const { body: shown } = await ann.call<Event>('GET', `/events/${event.event_id}`);
  const { body: seats } = await ann.call<object[]>('GET', `/events/${event.event_id}/seats`);
  expect(Object.keys(Reservation.properties)).toEqual(expect.arrayContaining(Object.keys(held.body)));
  expect(Object.keys(reservation).sort()).toEqual(Object.keys(held.body).sort());
  expect(Object.keys(shown)).toEqual(fields(Event));
  expect(Object.keys(Event.properties)).toEqual(expect.arrayContaining(Object.keys(shown)));
  for (const seat of seats) expect(Object.keys(seat).sort()).toEqual(Object.keys(Seat.properties).sort());
});

test('a seat map does not tell who has a seat', async () => {
  await (await api.as('zoe-secret')).hold(event.event_id, event.seat_ids.slice(1, 2), 'zoe-secret');
  const response = await fetch(`${api.url}/api/v1/events/${event.event_id}/seats`);
  expect(await response.text()).not.toMatch(/zoe-secret|res_/);
});
