/** What a client may rely on that repeats a request because it did not hear the answer. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Admission } from '../../api/admission.ts';
import { seatLock } from '../../domain/redis-keys.ts';
import { buyerAt, type Buyer, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addEvent } from '../support/house.ts';
import { openStores, type Stores } from '../support/stores.ts';
import { startApi, startWorkers, type RunningWorkers } from '../support/system.ts';
import { until } from '../support/until.ts';

let stores: Stores;
let workers: RunningWorkers;
let api: Awaited<ReturnType<typeof startApi>>;
let buyer: Buyer;
let house: { event_id: string; seat_ids: string[] };
beforeAll(async () => {
  stores = await openStores();
  workers = await startWorkers(stores);
  house = await addEvent(stores.database, 100);
  await startAnew();
});
afterAll(async () => {
  await api.stop();
  await workers.stop();
  await stores.close();
});

async function startAnew() {
  await api?.stop();
  api = await startApi(stores, 600);
  buyer = buyerAt(api.url);
}

/** Holds wait for their turn until it is opened. */
class Gate extends Admission {
  waiting = 0;
  readonly #opened = new AbortController();

  open(): void {
    this.#opened.abort();
  }

  override async run<T>(attempt: (waited: boolean) => Promise<T>): Promise<T> {
    this.waiting++;
    await once(this.#opened.signal, 'abort');
    return attempt(true);
  }
}

const takeSeats = (count: number) => house.seat_ids.splice(0, count);
const newKey = () => ({ 'idempotency-key': randomUUID() });
const hold = (seats: string[], key: Record<string, string>, user = 'ann') =>
  buyer.holdOnce(house.event_id, seats, user, key);

/** All that a client sees of an answer, but for what names this one exchange. */
function toTheLetter({ status, headers, body }: Reply): object {
  const own = new Set(['date', 'x-request-id', 'idempotency-replayed', 'connection', 'keep-alive']);
  return { status, headers: [...headers].filter(([name]) => !own.has(name)), body: JSON.stringify(body) };
}

function expectReplay(again: Reply, first: Reply) {
  expect(first.headers.get('idempotency-replayed')).toBeNull();
  expect(again.headers.get('idempotency-replayed')).toBe('true');
  expect(toTheLetter(again)).toEqual(toTheLetter(first));
}

/** Each asks for something that is answered so, with the key that is given. */
const requests: [string, number, () => Promise<(key: Record<string, string>) => Promise<Reply<ProblemBody>>>][] = [
  [
    'a hold',
    201,
    async () => {
      const seats = takeSeats(2);
      return (key) => hold(seats, key);
    },
  ],
  [
    'a hold of taken seats',
    409,
    async () => {
      const seats = takeSeats(2);
      await hold(seats.slice(1), {});
      return (key) => hold(seats, key);
    },
  ],
  ['a hold of seats of another event', 422, async () => (key) => hold(['demo-theatre-stalls-1-1'], key)],
  ['a hold for no event', 404, async () => (key) => buyer.holdOnce('nothing', ['a'], 'ann', key)],
  [
    'a payment',
    202,
    async () => {
      const { body } = await hold(takeSeats(1), {});
      return (key) => buyer.pay(body.reservation_id, 'tok_visa', key);
    },
  ],
  [
    'a payment that is waited for',
    201,
    async () => {
      const { body } = await hold(takeSeats(1), {});
      return (key) => buyer.pay(body.reservation_id, 'tok_visa', { prefer: 'wait=20', ...key });
    },
  ],
  [
    'a declined payment',
    402,
    async () => {
      const { body } = await hold(takeSeats(1), {});
      return (key) => buyer.pay(body.reservation_id, 'tok_declined', { prefer: 'wait=20', ...key });
    },
  ],
  [
    'a payment of a released reservation',
    409,
    async () => {
      const { body } = await hold(takeSeats(1), {});
      await buyer.release(body.reservation_id);
      return (key) => buyer.pay(body.reservation_id, 'tok_visa', key);
    },
  ],
];

test.each(requests)('%s, answered with %i, is answered to the letter again', async (_, status, prepare) => {
  const request = await prepare();
  const key = newKey();
  const first = await request(key);
  expect(first.status).toBe(status);
  expectReplay(await request(key), first);
  expectReplay(await request(key), first);
});

test('answers are the same after a restart', async () => {
  const asked = [];
  for (const [, status, prepare] of requests) {
    const request = await prepare();
    const key = newKey();
    const first = await request(key);
    expect(first.status).toBe(status);
    asked.push({ request, key, first });
  }
  await startAnew();
  for (const { request, key, first } of asked) expectReplay(await request(key), first);
});

test('the first answer is replayed even though the reservation has ended since', async () => {
  const seats = takeSeats(1);
  const key = newKey();
  const first = await hold(seats, key);
  await buyer.release(first.body.reservation_id);
  expectReplay(await hold(seats, key), first);
  expect((await hold(seats, {}, 'bob')).status).toBe(201);
});

test('the order in which the fields are written does not matter', async () => {
  const [seat] = takeSeats(1);
  const key = newKey();
  const first = await buyer.call(
    'POST',
    '/reservations',
    { event_id: house.event_id, seat_ids: [seat], user_id: 'ann' },
    key,
  );
  const again = await buyer.call(
    'POST',
    '/reservations',
    { user_id: 'ann', seat_ids: [seat], event_id: house.event_id },
    key,
  );
  expectReplay(again, first);
});

test('a key with another body is refused, and the first answer stays', async () => {
  const [one = '', two = '', three = ''] = takeSeats(3);
  const key = newKey();
  const first = await hold([one, two], key);
  for (const other of [
    await hold([three], key),
    await hold([two, one], key),
    await hold([one, two], key, 'bob'),
    await buyer.holdOnce('demo-theatre', [one, two], 'ann', key),
  ]) {
    expectProblem(other, 422, 'IDEMPOTENCY_KEY_REUSED');
  }
  expectReplay(await hold([one, two], key), first);
  expect((await hold([three], newKey())).status).toBe(201);
});

test.each([2, 20])('%i at once with one key make one reservation', async (count) => {
  const seats = takeSeats(2);
  const key = newKey();
  const replies = await Promise.all(Array.from({ length: count }, () => hold(seats, key)));
  expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 201));
  expect(new Set(replies.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  const { rows } = await stores.database.query('SELECT 1 FROM reservations WHERE seat_ids = $1', [seats]);
  expect(rows).toHaveLength(1);
});

test('20 payments at once with one key make one booking and one charge', async () => {
  const { body } = await hold(takeSeats(1), {});
  const key = { prefer: 'wait=20', ...newKey() };
  const replies = await Promise.all(Array.from({ length: 20 }, () => buyer.pay(body.reservation_id, 'tok_visa', key)));
  expect(new Set(replies.map((reply) => JSON.stringify(reply.body))).size).toBe(1);
  expect(replies[0]?.body).toMatchObject({ status: 'CONFIRMED' });
  expect(await buyer.charges(body.reservation_id)).toMatchObject([{ status: 'CAPTURED' }]);
});

test('a key of a reservation is another key than the same word for a booking', async () => {
  const key = newKey();
  const held = await hold(takeSeats(1), key);
  const paid = await buyer.pay(held.body.reservation_id, 'tok_visa', { prefer: 'wait=20', ...key });
  expect(paid.status).toBe(201);
  expect(paid.headers.get('idempotency-replayed')).toBeNull();
});

test('a request that was refused as bad does not use up its key', async () => {
  const seats = takeSeats(1);
  const key = newKey();
  expectProblem(await hold([], key), 400, 'INVALID_REQUEST');
  expect((await hold(seats, key)).status).toBe(201);
});

test('a key whose first request was never answered can be used again', async () => {
  const seats = takeSeats(1);
  const key = newKey();
  const first = await hold(seats, key);
  await stores.database.query('UPDATE idempotency_keys SET response_status = NULL WHERE key = $1', [
    key['idempotency-key'],
  ]);
  const again = await hold(seats, key);
  expect(again.status).toBe(201);
  expect(again.body).toMatchObject({ reservation_id: first.body.reservation_id, status: 'HELD' });
});

test('a key whose first request was never answered, and whose reservation has ended begins another', async () => {
  const seats = takeSeats(1);
  const key = newKey();
  const first = await hold(seats, key);
  expect((await buyer.release(first.body.reservation_id)).status).toBe(200);
  await stores.database.query('UPDATE idempotency_keys SET response_status = NULL WHERE key = $1', [
    key['idempotency-key'],
  ]);
  const again = await hold(seats, key);
  expect(again.status).toBe(201);
  expect(again.body.reservation_id).not.toBe(first.body.reservation_id);
  expect((await buyer.reservation(first.body.reservation_id)).body.status).toBe('RELEASED');
});

test('a hold whose client leaves before its turn is not made after its retry was refused', async () => {
  const gate = new Gate({ isAway: false });
  const slow = await startApi(stores, 600, gate);
  const seats = takeSeats(1);
  const key = newKey();
  const leaving = new AbortController();
  const body = { event_id: house.event_id, seat_ids: seats, user_id: 'ann' };
  const first = fetch(`${slow.url}/api/v1/reservations`, {
    method: 'POST',
    headers: { ...key, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  await until('the first try waits for its turn', async () => gate.waiting > 0);
  leaving.abort();
  await expect(first).rejects.toThrow('aborted');
  const { body: bobs } = await hold(seats, newKey(), 'bob');
  expectProblem(await hold(seats, key), 409, 'SEATS_UNAVAILABLE');
  await buyer.release(bobs.reservation_id);
  gate.open();
  await slow.stop(); // no sooner than the first try is over
  expect((await hold(seats, newKey(), 'cat')).status).toBe(201);
});

test('a hold whose retry was refused while it waited for its turn is taken back', async () => {
  const gate = new Gate({ isAway: false });
  const slow = await startApi(stores, 600, gate);
  const [seat = ''] = takeSeats(1);
  const key = newKey();
  const lock = seatLock(house.event_id, seat);
  const first = buyerAt(slow.url).holdOnce(house.event_id, [seat], 'ann', key);
  await until('the first try waits for its turn', async () => gate.waiting > 0);
  await stores.redis.set(lock, 'res_of_bob');
  const retry = await hold([seat], key);
  expectProblem(retry, 409, 'SEATS_UNAVAILABLE');
  await stores.redis.del(lock);
  gate.open();
  expectReplay(await first, retry);
  await until('the seat is free', async () => (await hold([seat], newKey(), 'cat')).status === 201);
  await slow.stop();
});

test('a key of 255 visible characters is taken', async () => {
  const key = { 'idempotency-key': '~'.repeat(255) };
  const seats = takeSeats(1);
  const first = await hold(seats, key);
  expect(first.status).toBe(201);
  expectReplay(await hold(seats, key), first);
});

test('old keys go while new ones come, one that is used again included', async () => {
  const key = newKey();
  const seats = takeSeats(1);
  const first = await hold(seats, key);
  await stores.database.query(`UPDATE idempotency_keys SET created_at = now() - interval '8 days'`);
  await stores.database.query(
    `INSERT INTO idempotency_keys (scope, key, request_hash, created_at)
     SELECT 'POST /reservations', 'old-' || n, '', now() - interval '9 days' FROM generate_series(1, 20) AS n`,
  );
  expectReplay(await hold(seats, key), first);
  await until('the old keys are gone', async () => {
    expectProblem(await buyer.holdOnce('nothing', ['a'], 'ann', newKey()), 404, 'EVENT_NOT_FOUND');
    const { rowCount } = await stores.database.query(
      `SELECT 1 FROM idempotency_keys WHERE created_at < now() - interval '7 days'`,
    );
    return rowCount === 0;
  });
});

test('after all of this every seat and every charge is accounted for', async () => {
  await until('the payments are settled', async () => {
    const { rowCount } = await stores.database.query(`SELECT 1 FROM bookings WHERE status = 'PENDING'`);
    return rowCount === 0;
  });
  await expectNoFaults(stores);
});
