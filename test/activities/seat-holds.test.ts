/** PostgreSQL decides who has a seat: here without Redis, which only makes a refusal fast. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBookings } from '../../activities/bookings.ts';
import { createSeatHolds } from '../../activities/seat-holds.ts';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { seatLock } from '../../domain/redis-keys.ts';
import { connectPostgres, connectRedis } from '../../runtime/connections.ts';
import { addEvent } from '../support/house.ts';
import { NO_FAULTS, findFaults } from '../../audit/sweep.ts';
import { log, openStores, type Stores } from '../support/stores.ts';
import { until } from '../support/until.ts';

let stores: Stores;
let redisAway: Redis;
let holds: ReturnType<typeof createSeatHolds>;
beforeAll(async () => {
  stores = await openStores();
  redisAway = connectRedis('redis://127.0.0.1:1', log);
  holds = createSeatHolds(stores.database, createSeatLocks(redisAway, log));
});
afterAll(async () => {
  redisAway.disconnect();
  await stores.close();
});

const request = (reservation_id: string, event_id: string, seat_ids: string[], hold_seconds = 600) => ({
  reservation_id,
  event_id,
  seat_ids,
  user_id: 'ann',
  hold_seconds,
  rescue: false,
});

/** Until so many statements wait for what others have locked. */
const waiting = (count: number) =>
  until(`${count} wait`, async () => {
    const { rowCount } = await stores.database.query(
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
    );
    return rowCount === count;
  });

/** Who has what, by seat. */
async function owners(event_id: string): Promise<Map<string, string | null>> {
  const { rows } = await stores.database.query<{ seat_id: string; reservation_id: string | null }>(
    'SELECT seat_id, reservation_id FROM seats WHERE event_id = $1 ORDER BY seat_id',
    [event_id],
  );
  return new Map(rows.map(({ seat_id, reservation_id }) => [seat_id, reservation_id]));
}

test('a hold is planned once for a connection, which takes as long as the hold itself', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 10);
  const database = connectPostgres(stores.databaseUrl, 1, log, { byKey: true });
  const { holdSeats } = createSeatHolds(database, createSeatLocks(redisAway, log));
  for (const seat of seat_ids) await holdSeats(request(`res_planned_${seat}`, event_id, [seat]));
  const { rows } = await database.query(
    `SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'hold-seats'`,
  );
  await database.end();
  expect(rows).toEqual([{ generic_plans: '10', custom_plans: '0' }]);
});

test('of 200 buyers who want 20 seats, 20 get one each', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 20);
  const buyers = Array.from({ length: 200 }, (_, buyer) =>
    request(`res_rush_${buyer}`, event_id, seat_ids.slice(buyer % 20, (buyer % 20) + 1)),
  );
  const results = await Promise.all(buyers.map((buyer) => holds.holdSeats(buyer)));
  const winners = buyers.filter((_, buyer) => results[buyer] && 'hold' in results[buyer]);
  expect(winners).toHaveLength(20);
  const won = new Map(winners.map((winner) => [winner.seat_ids[0], winner.reservation_id]));
  expect(await owners(event_id)).toEqual(won);
  for (const [buyer, result] of results.entries()) {
    if ('conflicts' in result) expect(result.conflicts).toEqual(buyers[buyer]?.seat_ids);
  }
  expect(await findFaults(stores)).toEqual(NO_FAULTS);
});

test('a repeat finds its hold though Redis has lost its lock, and given it to another', async () => {
  const { redis } = stores;
  const { holdSeats } = createSeatHolds(stores.database, createSeatLocks(redis, log));
  const { event_id, seat_ids } = await addEvent(stores.database, 1);
  const held = request('res_acknowledged', event_id, seat_ids);
  const first = await holdSeats(held);
  const lock = seatLock(event_id, seat_ids[0] ?? '');
  await redis.set(lock, 'res_another');
  expect(first).toMatchObject({ hold: { fence: expect.any(String) } });
  expect(await holdSeats(held)).toMatchObject({ hold: { fence: 'hold' in first && first.hold.fence } });
  expect(await holdSeats(request('res_late', event_id, seat_ids))).toEqual({ conflicts: seat_ids });
  await redis.set(lock, held.reservation_id);
});

test('a buyer who finds a seat taken, and free again when asked which one it was, gets it', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 1);
  await holds.holdSeats(request('res_before', event_id, seat_ids));
  const [looking, leaving] = [await stores.database.connect(), await stores.database.connect()];
  try {
    await looking.query(`BEGIN; SELECT 1 FROM seats WHERE event_id = '${event_id}' FOR UPDATE`);
    const held = holds.holdSeats(request('res_after', event_id, seat_ids));
    await waiting(1);
    // With the table, so that nobody asks what was granted before the seat is free.
    const left = leaving.query(
      `BEGIN; LOCK TABLE reservations;
       UPDATE seats SET status = 'AVAILABLE', reservation_id = NULL WHERE event_id = '${event_id}'; COMMIT`,
    );
    await waiting(2);
    await looking.query('COMMIT');
    await left;
    expect(await held).toMatchObject({ hold: { price: expect.any(Number) } });
  } finally {
    looking.release();
    leaving.release();
  }
  await stores.database.query(`UPDATE reservations SET status = 'EXPIRED' WHERE reservation_id = 'res_before'`);
  expect(await findFaults(stores)).toEqual(NO_FAULTS);
});

test('of buyers who want the same seats in different orders, each gets all or none', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 10);
  const wanted = (buyer: number) => {
    const from = buyer % 7;
    const seats = seat_ids.slice(from, from + 4);
    return buyer % 2 === 0 ? seats : seats.toReversed();
  };
  const buyers = Array.from({ length: 100 }, (_, buyer) => request(`res_mesh_${buyer}`, event_id, wanted(buyer)));
  const results = await Promise.all(buyers.map((buyer) => holds.holdSeats(buyer)));
  const winners = buyers.filter((_, buyer) => results[buyer] && 'hold' in results[buyer]);
  expect(winners.length).toBeGreaterThan(0);
  const expected = new Map<string, string | null>(seat_ids.map((seat) => [seat, null]));
  for (const winner of winners) for (const seat of winner.seat_ids) expected.set(seat, winner.reservation_id);
  expect(await owners(event_id)).toEqual(expected);
  expect(await findFaults(stores)).toEqual(NO_FAULTS);
});

test('buyers who name the same seats in opposite orders never wait for each other', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 5);
  const inTheWay = await stores.database.connect();
  await inTheWay.query('BEGIN');
  await inTheWay.query('SELECT 1 FROM seats WHERE seat_id = $1 FOR UPDATE', [seat_ids[2]]);
  const rivals = [seat_ids, seat_ids.toReversed()].map((seats, rival) =>
    holds.holdSeats(request(`res_opposite_${rival}`, event_id, seats)),
  );
  await until('both rivals wait', async () => {
    const { rowCount } = await stores.database.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rowCount === rivals.length;
  });
  await inTheWay.query('COMMIT');
  inTheWay.release();
  const results = await Promise.all(rivals);
  expect(results.filter((result) => 'hold' in result)).toHaveLength(1);
});

test('a hold that had to wait for its seats begins when it has them, and so has all of its time', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 1);
  const inTheWay = await stores.database.connect();
  await inTheWay.query('BEGIN');
  await inTheWay.query('SELECT 1 FROM seats WHERE event_id = $1 FOR UPDATE', [event_id]);
  const holding = holds.holdSeats(request('res_waited', event_id, seat_ids));
  await waiting(1);
  const { rows } = await inTheWay.query<{ freed_at: Date }>('SELECT clock_timestamp() AS freed_at');
  await inTheWay.query('COMMIT');
  inTheWay.release();
  const result = await holding;
  if (!('hold' in result)) throw new Error('not held');
  const [from, to] = [Date.parse(result.hold.created_at), Date.parse(result.hold.expires_at)];
  expect(from).toBeGreaterThanOrEqual(rows[0]?.freed_at.getTime() ?? Infinity);
  expect(to - from).toBe(600_000);
});

test('a hold with one seat that is taken holds none, and names that one', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 3);
  await holds.holdSeats(request('res_first', event_id, seat_ids.slice(1, 2)));
  expect(await holds.holdSeats(request('res_second', event_id, seat_ids))).toEqual({ conflicts: [seat_ids[1]] });
  expect([...(await owners(event_id)).values()]).toEqual([null, 'res_first', null]);
});

test('when one hold of an event expires, all that are due are freed, but none that is being paid for', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 4);
  const names = ['res_due', 'res_due_too', 'res_paying', 'res_fresh'];
  const [due] = await Promise.all(
    names.map((name, i) =>
      holds.holdSeats(request(name, event_id, seat_ids.slice(i, i + 1), name === 'res_fresh' ? 600 : 0)),
    ),
  );
  const { openBooking } = createBookings(stores.database);
  expect(await openBooking({ booking_id: 'bkg_paying', reservation_id: 'res_paying' })).toBe(true);
  const fence = due && 'hold' in due ? due.hold.fence : undefined;
  const mine = request('res_due', event_id, seat_ids.slice(0, 1));
  expect(await holds.releaseSeats({ ...mine, fence, ending: 'EXPIRED' })).toBe('EXPIRED');
  expect([...(await owners(event_id)).values()]).toEqual([null, null, 'res_paying', 'res_fresh']);
});

test('a release that waits for the expiry of its hold answers that it has expired', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 1);
  const mine = request('res_waits', event_id, seat_ids);
  await holds.holdSeats(mine);
  const other = await stores.database.connect();
  await other.query(`BEGIN; UPDATE reservations SET status = 'EXPIRED' WHERE reservation_id = 'res_waits'`);
  const released = holds.releaseSeats({ ...mine, fence: undefined, ending: 'RELEASED' });
  await waiting(1);
  await other.query('COMMIT');
  other.release();
  expect(await released).toBe('EXPIRED');
});

test('a booking that comes after its own undo books nothing, and the hold goes on with a new fence', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 2);
  const mine = request('res_unbooked', event_id, seat_ids);
  const held = await holds.holdSeats(mine);
  if (!('hold' in held)) throw new Error('not held');
  const late = { ...mine, fence: held.hold.fence };
  expect(await holds.bookSeats(late)).toBe(true);
  const fence = await holds.unbookSeats(late);
  expect(await holds.unbookSeats(late)).toBe(fence);

  expect(await holds.bookSeats(late)).toBe(false);
  expect(await findFaults(stores)).toEqual(NO_FAULTS);
  expect(await holds.bookSeats({ ...mine, fence })).toBe(true);
  const again = await holds.unbookSeats({ ...mine, fence });
  expect(await holds.releaseSeats({ ...mine, fence: again, ending: 'RELEASED' })).toBe('RELEASED');
  expect([...(await owners(event_id)).values()]).toEqual([null, null]);
});

test('a lock outlives its hold', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 1);
  const { holdSeats } = createSeatHolds(stores.database, createSeatLocks(stores.redis, log));
  await holdSeats(request('res_locked', event_id, seat_ids, 10));
  expect(await stores.redis.pttl(seatLock(event_id, seat_ids[0] ?? ''))).toBeGreaterThan(10_000);
});
