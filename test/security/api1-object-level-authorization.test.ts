/** OWASP API1:2023, Broken Object Level Authorization: every route that names an object, with another user's token. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Event } from '../../domain/model.ts';
import { buyerAt, type Buyer, type ProblemBody } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addEvent } from '../support/house.ts';
import { startSystem } from '../support/system.ts';
import { guarded } from '../support/guarded-api.ts';
import { operatorToken, tokenFor } from '../support/tokens.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
let ann: Buyer;
let bob: Buyer;
let operator: Buyer;
let event: Awaited<ReturnType<typeof addEvent>>;
beforeAll(async () => {
  system = await startSystem({ settings: guarded() });
  ann = buyerAt(system.url, await tokenFor('ann'));
  bob = buyerAt(system.url, await tokenFor('bob'));
  operator = buyerAt(system.url, await operatorToken());
  event = await addEvent(system.stores.database, 20);
});
afterAll(() => system.stop());

let nextSeat = 0;
async function annHolds() {
  const held = await ann.hold(event.event_id, event.seat_ids.slice(nextSeat++, nextSeat));
  expect(held.status, held.body.detail).toBe(201);
  return held.body.reservation_id;
}

/** What is the same in the answer for an object of another buyer and for none at all. */
const withoutNames = ({ body: { detail: _, instance: __, ...rest } }: { body: ProblemBody }) => rest;

interface Operation {
  security?: object[];
  parameters?: { name: string; in: string }[];
}
interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
}

test('every route that names a reservation or booking answers another user as if there were none', async () => {
  const reservation_id = await annHolds();
  const { body: booking } = await ann.payAndWait(reservation_id, 'tok_visa');
  expect(booking.status).toBe('CONFIRMED');
  const ids: Record<string, string> = { reservation_id, booking_id: booking.booking_id };

  const openApi: OpenApi = JSON.parse(await (await fetch(`${system.url}/openapi.json`)).text());
  const operations = Object.entries(openApi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const asked: string[] = [];
  for (const { path, method, operation } of operations) {
    const names = (operation.parameters ?? []).filter(({ name }) => name in ids);
    const isBody = method === 'post' && path.endsWith('/bookings');
    if (names.length === 0 && !isBody) continue;
    expect(operation.security, `${method} ${path}`).toEqual([{ bearer: [] }]);
    const ask = (idOf: (name: string) => string | undefined) => {
      const query = names.filter((it) => it.in === 'query').map(({ name }) => `${name}=${idOf(name)}`);
      const address = path.replace('/api/v1', '').replaceAll(/\{(\w+)\}/g, (_, name: string) => idOf(name) ?? '');
      const body = isBody ? { reservation_id: idOf('reservation_id'), payment_token: 'tok_visa' } : undefined;
      return bob.call<ProblemBody>(method.toUpperCase(), [address, ...query].join('?'), body);
    };
    const others = await ask((name) => ids[name]);
    const none = await ask(() => 'nothing');
    expect(others.status, `${method} ${path}`).toBe(404);
    expect(withoutNames(others)).toEqual(withoutNames(none));
    asked.push(`${method} ${path}`);
  }
  expect(asked.sort()).toEqual([
    'delete /api/v1/reservations/{reservation_id}',
    'get /api/v1/bookings/{booking_id}',
    'get /api/v1/reservations/{reservation_id}',
    'get /api/v1/sandbox/charges',
    'post /api/v1/bookings',
  ]);
  expect((await ann.reservation(reservation_id)).body).toMatchObject({ status: 'CONFIRMED', user_id: 'ann' });
});

test('a hold of another user cannot be given back, nor paid for, and stays', async () => {
  const reservation_id = await annHolds();
  expectProblem(await bob.release(reservation_id), 404, 'RESERVATION_NOT_FOUND');
  expectProblem(await bob.pay(reservation_id, 'tok_visa'), 404, 'RESERVATION_NOT_FOUND');
  expect((await ann.reservation(reservation_id)).body.status).toBe('HELD');
});

test('nobody holds seats in the name of another user, an operator neither', async () => {
  const seats = event.seat_ids.slice(-1);
  for (const buyer of [bob, operator]) {
    expectProblem(await buyer.hold(event.event_id, seats, 'ann'), 403, 'USER_MISMATCH');
  }
  expect((await bob.hold(event.event_id, seats, 'bob')).status).toBe(201);
});

test('an operator sees all and may release, but does not pay', async () => {
  const reservation_id = await annHolds();
  expect((await operator.reservation(reservation_id)).body.user_id).toBe('ann');
  expectProblem(await operator.pay(reservation_id, 'tok_visa'), 403, 'USER_MISMATCH');
  expect(await operator.charges(reservation_id)).toEqual([]);
  expect((await operator.release(reservation_id)).body.status).toBe('RELEASED');
});

describe('an idempotency key is its user’s alone', () => {
  const key = { 'idempotency-key': 'the-same-key' };

  test('two users with one key hold two reservations', async () => {
    const seats = [event.seat_ids.slice(-3, -2), event.seat_ids.slice(-2, -1)];
    const first = await ann.holdOnce(event.event_id, seats[0] ?? [], 'ann', key);
    const other = await bob.holdOnce(event.event_id, seats[1] ?? [], 'bob', key);
    expect([first.status, other.status]).toEqual([201, 201]);
    expect(other.headers.has('idempotency-replayed')).toBe(false);
    expect((await ann.holdOnce(event.event_id, seats[0] ?? [], 'ann', key)).headers.get('idempotency-replayed')).toBe(
      'true',
    );
  });

  test('the stored answer to a payment is not told to another user', async () => {
    const reservation_id = await annHolds();
    expect((await ann.pay(reservation_id, 'tok_visa', key)).status).toBe(202);
    expectProblem(await bob.pay(reservation_id, 'tok_visa', key), 404, 'RESERVATION_NOT_FOUND');
  });
});

test('events and their seats are everybody’s', async () => {
  const anybody = buyerAt(system.url);
  expect((await anybody.call<Event>('GET', `/events/${event.event_id}`)).body.event_id).toBe(event.event_id);
  expect((await anybody.call('GET', `/events/${event.event_id}/seats`)).status).toBe(200);
});
