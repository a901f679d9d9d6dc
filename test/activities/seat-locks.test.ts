/** Locks in Redis: all or none, and only their owner's to give up. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createSeatLocks, type SeatLocks } from '../../activities/seat-locks.ts';
import { connectRedis } from '../../runtime/connections.ts';
import { log, openStores, type Stores } from '../support/stores.ts';

let stores: Stores;
let locks: SeatLocks;
beforeAll(async () => {
  stores = await openStores();
  locks = createSeatLocks(stores.redis, log);
});
afterAll(() => stores.close());
beforeEach(() => stores.redis.flushdb());

const TTL_MS = 60_000;
const seatsOf = (reservation_id: string, ...seat_ids: string[]) => ({ event_id: 'tempest', reservation_id, seat_ids });
const lockOf = (seat: string) => `seat_lock:{tempest}:${seat}`;
const ownersOf = (...seats: string[]) => stores.redis.mget(seats.map(lockOf));

test('a lock names its reservation and ends by itself', async () => {
  expect(await locks.lock(seatsOf('res_a', 'A1', 'A2'), TTL_MS)).toEqual({ conflicts: [] });
  expect(await ownersOf('A1', 'A2')).toEqual(['res_a', 'res_a']);
  for (const seat of ['A1', 'A2']) {
    const left = await stores.redis.pttl(lockOf(seat));
    expect(left).toBeGreaterThan(TTL_MS - 10_000);
    expect(left).toBeLessThanOrEqual(TTL_MS);
  }
});

test('seats of which some are locked by another are not locked, and those are named', async () => {
  await locks.lock(seatsOf('res_a', 'A2', 'A4'), TTL_MS);
  expect(await locks.lock(seatsOf('res_b', 'A1', 'A2', 'A3', 'A4'), TTL_MS)).toEqual({ conflicts: ['A2', 'A4'] });
  expect(await ownersOf('A1', 'A2', 'A3', 'A4')).toEqual([null, 'res_a', null, 'res_a']);
});

test('a reservation may lock its own seats again', async () => {
  await locks.lock(seatsOf('res_a', 'A1'), 1_000);
  expect(await locks.lock(seatsOf('res_a', 'A1', 'A2'), TTL_MS)).toEqual({ conflicts: [] });
  expect(await stores.redis.pttl(lockOf('A1'))).toBeGreaterThan(1_000);
});

test('only the owner gives a lock up', async () => {
  await locks.lock(seatsOf('res_a', 'A1'), TTL_MS);
  await locks.lock(seatsOf('res_b', 'A2'), TTL_MS);
  await locks.unlock(seatsOf('res_b', 'A1', 'A2'));
  expect(await ownersOf('A1', 'A2')).toEqual(['res_a', null]);
  await locks.unlock(seatsOf('res_a', 'A1'));
  expect(await ownersOf('A1')).toEqual([null]);
});

test('a seat that is sold is refused also without a lock', async () => {
  await locks.lock(seatsOf('res_a', 'A1'), TTL_MS);
  await locks.unlock(seatsOf('res_a', 'A1'), true);
  expect(await ownersOf('A1')).toEqual([null]);
  expect(await locks.lock(seatsOf('res_b', 'A1', 'A2'), TTL_MS)).toEqual({ conflicts: ['A1'] });
});

test('of reservations that lock the same seats at once, one does', async () => {
  const rivals = Array.from({ length: 50 }, (_, rival) => seatsOf(`res_${rival}`, 'A1', 'A2'));
  const results = await Promise.all(rivals.map((rival) => locks.lock(rival, TTL_MS)));
  expect(results.filter(({ conflicts }) => conflicts.length === 0)).toHaveLength(1);
});

test('looked up, a seat is taken that another has locked or bought, and no other', async () => {
  await locks.lock(seatsOf('res_a', 'A1', 'A2'), TTL_MS);
  await locks.unlock(seatsOf('res_a', 'A1'), true);
  expect(await locks.findTaken(seatsOf('res_b', 'A1', 'A2', 'A3'))).toEqual(['A1', 'A2']);
  expect(await locks.findTaken(seatsOf('res_a', 'A2', 'A3'))).toEqual([]);
  expect(await locks.findTaken({ ...seatsOf('res_b', 'A1', 'A2', 'A3'), event_id: 'hamlet' })).toEqual([]);
});

test('what many look up at once is asked of Redis together, and told to each', async () => {
  await locks.lock(seatsOf('res_a', 'A1', 'A9'), TTL_MS);
  await stores.redis.config('RESETSTAT');
  const lookUps = Array.from({ length: 600 }, (_, n) => locks.findTaken(seatsOf(`res_${n}`, 'A1', `B${n}`)));
  expect(await Promise.all(lookUps)).toEqual(lookUps.map(() => ['A1']));
  const calls = /cmdstat_eval(?:sha)?:calls=(\d+)/.exec(await stores.redis.info('commandstats'))?.[1];
  expect(Number(calls)).toBeLessThanOrEqual(4); // 601 seats, at most 500 at once; and the script itself, once
});

test('while Redis is away a lock that is to go is not forgotten', async () => {
  const away = connectRedis('redis://127.0.0.1:1', log);
  await expect(createSeatLocks(away, log).unlock(seatsOf('res_a', 'A1'))).rejects.toThrow('writeable');
  away.disconnect();
});

test('while Redis is away nobody is refused or kept waiting', async () => {
  const away = connectRedis('redis://127.0.0.1:1', log);
  const withoutRedis = createSeatLocks(away, log);
  expect(withoutRedis.isAway).toBe(false);
  for (let buyer = 0; buyer < 10; buyer++) {
    expect(await withoutRedis.findTaken(seatsOf(`res_${buyer}`, 'A1'))).toEqual([]);
    expect(await withoutRedis.lock(seatsOf(`res_${buyer}`, 'A1'), TTL_MS)).toEqual({ conflicts: [] });
    await withoutRedis.announce(seatsOf(`res_${buyer}`, 'A1'), 'HELD');
  }
  expect(withoutRedis.isAway).toBe(true); // so the API lets fewer in at once
  away.disconnect();
});
