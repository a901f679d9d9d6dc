/** The seat map as it is read ten thousand times a second: cheap, and never more than five seconds old. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { createCatalog } from '../../api/catalog.ts';
import { createQueries } from '../../api/queries.ts';
import { createSeatMaps } from '../../api/seat-maps.ts';
import { createSeatStream } from '../../api/seat-stream.ts';
import type { Seat } from '../../domain/model.ts';
import { buyerAt, type Buyer } from '../support/buyer.ts';
import { addEvent, addSeats } from '../support/house.ts';
import { log } from '../support/stores.ts';
import { startApi, startSystem } from '../support/system.ts';
import { until } from '../support/until.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
let buyer: Buyer;
beforeAll(async () => {
  system = await startSystem();
  buyer = buyerAt(system.url);
});
afterAll(() => system.stop());
afterEach(() => vi.restoreAllMocks());

const read = (eventId: string, headers: Record<string, string> = {}, url = system.url) =>
  fetch(`${url}/api/v1/events/${eventId}/seats`, { headers });

const readSeats = async (eventId: string) => (await buyer.call<Seat[]>('GET', `/events/${eventId}/seats`)).body;

const watchDatabase = () => vi.spyOn(system.stores.database, 'query');

const cachedMaps = (eventId: string) => system.stores.redis.keys(`event_map:{${eventId}}*`);

test('a map that was read a moment ago is read again without asking PostgreSQL anything', async () => {
  const { event_id } = await addEvent(system.stores.database, 50);
  const etag = (await read(event_id)).headers.get('etag') ?? '';
  const query = watchDatabase();
  for (const headers of [{ 'accept-encoding': 'br' }, { 'accept-encoding': 'gzip' }, { 'if-none-match': etag }]) {
    const replies = await Promise.all(Array.from({ length: 50 }, () => read(event_id, headers)));
    expect(new Set(replies.map(({ status }) => status)).size).toBe(1);
  }
  expect(query).not.toHaveBeenCalled();
});

test('a hundred who read at once what nobody has read yet cost PostgreSQL no more than one', async () => {
  const lonely = await addEvent(system.stores.database, 50);
  const crowded = await addEvent(system.stores.database, 50);
  const query = watchDatabase();
  await read(lonely.event_id);
  const forOne = query.mock.calls.length;
  query.mockClear();
  const replies = await Promise.all(Array.from({ length: 100 }, () => read(crowded.event_id)));
  expect(query).toHaveBeenCalledTimes(forOne);
  expect(new Set(replies.map(({ headers }) => headers.get('etag'))).size).toBe(1);
});

test('a map without seats is told in every form', async () => {
  const { event_id } = await addEvent(system.stores.database, 0);
  for (const encoding of ['br', 'gzip', 'identity']) {
    const full = await read(event_id, { 'accept-encoding': encoding });
    expect(await full.json()).toEqual([]);
    const url = `${system.url}/api/v1/events/${event_id}/seats?format=compact`;
    const compact = await fetch(url, { headers: { 'accept-encoding': encoding } });
    expect([compact.status, (await compact.arrayBuffer()).byteLength]).toEqual([200, 0]);
  }
});

test('a map is kept in Redis for five seconds at most', async () => {
  const { event_id } = await addEvent(system.stores.database, 5);
  await read(event_id);
  const [key = '', ...others] = await cachedMaps(event_id);
  expect(others).toEqual([]);
  const ttl = await system.stores.redis.pttl(key);
  expect(ttl).toBeGreaterThan(0);
  expect(ttl).toBeLessThanOrEqual(5_000);
});

test('a second server tells the map that the first one made, with the same tag', async () => {
  const { event_id } = await addEvent(system.stores.database, 5);
  const first = await read(event_id);
  await system.stores.database.query(`UPDATE seats SET status = 'HELD' WHERE event_id = $1`, [event_id]);
  const neighbour = await startApi(system.stores, 600);
  const second = await read(event_id, {}, neighbour.url);
  await neighbour.stop();
  expect(second.headers.get('etag')).toBe(first.headers.get('etag'));
  expect(await second.json()).toEqual(await first.json());
});

test.each<[string, (key: string) => Promise<unknown>]>([
  ['gone', (key) => system.stores.redis.del(key)],
  ['of another kind', (key) => system.stores.redis.set(key, 'rubbish')],
  ['half there', (key) => system.stores.redis.hdel(key, 'tag')],
])('a map whose copy in Redis is %s is made anew', async (_, spoil) => {
  const { event_id } = await addEvent(system.stores.database, 5);
  const first = await read(event_id);
  const [key = ''] = await cachedMaps(event_id);
  await spoil(key);
  const neighbour = await startApi(system.stores, 600);
  const second = await read(event_id, {}, neighbour.url);
  await neighbour.stop();
  expect(second.headers.get('etag')).toBe(first.headers.get('etag'));
  expect(await second.json()).toEqual(await first.json());
});

test('nobody waits for a map that is read all the time: it is made anew before its time is over', async () => {
  const { event_id } = await addEvent(system.stores.database, 5);
  const readMap = () => read(event_id, { origin: 'https://tickets.example' }); // which the microcache leaves alone
  const etagOf = async (reply: Promise<Response>) => (await reply).headers.get('etag');
  const first = await etagOf(readMap());
  const writer = await system.stores.database.connect();
  onTestFinished(() => writer.release(true));
  await writer.query('BEGIN; LOCK TABLE seats');
  const query = watchDatabase();
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 4_000 });
  const meanwhile = await etagOf(readMap());
  vi.useRealTimers();
  expect(meanwhile).toBe(first);
  await until('the next map to be asked for', async () => query.mock.calls.length === 1);
  await writer.query(`UPDATE seats SET status = 'HELD' WHERE event_id = '${event_id}'; COMMIT`);
  await until('the next map', async () => (await etagOf(readMap())) !== first, 900);
});

/** The maps of a process of its own, and an event. */
async function openMaps() {
  const { database, redis, redisUrl } = system.stores;
  const { event_id } = await addEvent(database, 5);
  const queries = createQueries(database);
  const stream = createSeatStream(redisUrl, redis, log);
  onTestFinished(() => stream.close());
  const entry = await createCatalog(queries).get(event_id);
  if (!entry) throw new Error('the event is there');
  return { seatMaps: createSeatMaps(redis, queries, stream), entry, event_id };
}

test('a map goes on within its patience where PostgreSQL is held up just as the map is made anew', async () => {
  const { database } = system.stores;
  const { seatMaps, entry } = await openMaps();
  const first = await seatMaps.get(entry, undefined);
  const writer = await database.connect();
  onTestFinished(() => writer.release(true));
  await writer.query('BEGIN; LOCK TABLE seats');
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 4_000 });
  expect(await seatMaps.get(entry, undefined)).toBe(first);
  vi.useRealTimers();
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + 6_000); // by which the map is stale
  await delay(2); // the cache looks at the clock once in a millisecond
  expect(await Promise.race([seatMaps.get(entry, undefined), delay(1_500)])).toBe(first);
});

test('what is sent of a map is ready when the next one takes its place; the rest is made when it is asked for', async () => {
  const { database } = system.stores;
  const { seatMaps, entry, event_id } = await openMaps();
  const first = await seatMaps.get(entry, undefined);
  const body = await seatMaps.bodyOf({ map: first, format: 'full', encoding: 'br' });
  await database.query(`UPDATE seats SET status = 'HELD' WHERE event_id = $1`, [event_id]);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 4_000 });
  await seatMaps.get(entry, undefined);
  vi.useRealTimers();
  let map = first;
  await until('the next map', async () => (map = await seatMaps.get(entry, undefined)).tag !== first.tag);
  const render = vi.spyOn(map.layout, 'render');
  expect(await seatMaps.bodyOf({ map, format: 'full', encoding: 'br' })).not.toEqual(body);
  expect(render).not.toHaveBeenCalled();
  await seatMaps.bodyOf({ map, format: 'full', encoding: 'gzip' });
  expect(render).toHaveBeenCalledOnce();
});

test('a hold, a booking and a seat that was added show within five seconds, under another tag', async () => {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 3);
  const [held = '', booked = '', free = ''] = seat_ids;
  const before = await read(event_id);
  await buyer.hold(event_id, [held]);
  const { body } = await buyer.hold(event_id, [booked]);
  await buyer.payAndWait(body.reservation_id, 'tok_visa');
  const [added = ''] = await addSeats(system.stores.database, event_id, 1, 'B');
  const wanted = [`${held} HELD`, `${booked} BOOKED`, `${free} AVAILABLE`, `${added} AVAILABLE`].sort().join();
  await until(
    'the new statuses',
    async () => {
      const seats = (await readSeats(event_id)).map(({ seat_id, status }) => `${seat_id} ${status}`);
      return seats.sort().join() === wanted;
    },
    5_500,
  );
  expect((await read(event_id)).headers.get('etag')).not.toBe(before.headers.get('etag'));
});

test('a client that is slow to take a map has all of it from a server that stops meanwhile', async () => {
  const closing = await startApi(system.stores, 600);
  const { hostname, port, host } = new URL(closing.url);
  const slow = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  slow.on('data', (chunk: Buffer) => chunks.push(chunk));
  slow.write(`GET /api/v1/events/demo-stadium/seats HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
  await once(slow, 'data');
  slow.pause();
  const stopped = closing.stop();
  const isRefused = () =>
    fetch(`${closing.url}/livez`).then(
      () => false,
      () => true,
    );
  await until('nobody is let in', isRefused);
  slow.resume();
  await once(slow, 'close');
  const answer = Buffer.concat(chunks);
  const length = /content-length: (\d+)/.exec(answer.toString('latin1', 0, 2_000))?.[1];
  expect(answer.length - answer.indexOf('\r\n\r\n') - 4).toBe(Number(length));
  await stopped;
});
