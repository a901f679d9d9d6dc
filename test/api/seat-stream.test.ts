/** The live seat map: what a viewer is told, also after it was away. */
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { layoutVersionOf } from '../../api/seat-stream.ts';
import { seatChanges } from '../../domain/redis-keys.ts';
import { connectRedis } from '../../runtime/connections.ts';
import { buyerAt } from '../support/buyer.ts';
import { addEvent, addSeats, addTwoShows } from '../support/house.ts';
import { viewSeats, type SeatViewer } from '../support/seat-viewer.ts';
import { log } from '../support/stores.ts';
import { startApi, startSystem } from '../support/system.ts';
import { until } from '../support/until.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
/** Holds of two seconds, so that expiry shows. */
beforeAll(async () => void (system = await startSystem({ holdSeconds: 2 })));
afterAll(() => system.stop());

const viewers: SeatViewer[] = [];
afterAll(() => viewers.forEach((viewer) => viewer.close()));

async function view(eventId: string, lastEventId?: string, query = '') {
  const viewer = await viewSeats(system.url, eventId, lastEventId, query);
  viewers.push(viewer);
  return viewer;
}

/** An event with buyers: each call takes a seat, or gives it back. */
async function openHouse(seats: number) {
  const { event_id, seat_ids } = await addEvent(system.stores.database, seats);
  const buyer = buyerAt(system.url);
  return { event_id, seat_ids, buyer, hold: (...ids: string[]) => buyer.hold(event_id, ids) };
}

/** Says that the seat changed so often, as fast as it can be said. */
async function flood(eventId: string, seat: string, times: number) {
  const locks = createSeatLocks(system.stores.redis, log);
  const seats = { event_id: eventId, reservation_id: 'res_flood', seat_ids: [seat] };
  for (let n = 0; n < times; n++) await locks.announce(seats, n % 2 === 0 ? 'HELD' : 'AVAILABLE');
}

const idsOf = ({ events }: SeatViewer) => events.filter(({ event }) => event === 'seat').map(({ id }) => id);
async function allIds(eventId: string) {
  const { redis, database } = system.stores;
  const run = /^run_id:(\w{8})/m.exec(await redis.info('server'))?.[1];
  const { rows } = await database.query('SELECT layout_version AS layout FROM events WHERE event_id = $1', [eventId]);
  return (await redis.xrange(seatChanges(eventId), '-', '+')).map(([place]) => `${place}-${run}-${rows[0]?.layout}`);
}

test('a viewer is told of holds, releases, bookings and expiries in order, each with an id that rises', async () => {
  const { event_id, seat_ids, buyer, hold } = await openHouse(3);
  const [released, booked, expired] = seat_ids;
  const viewer = await view(event_id);
  expect(viewer.response.headers).toMatchObject({
    'content-type': expect.stringMatching(/^text\/event-stream/),
    'cache-control': expect.stringMatching(/no-(store|cache)/),
    'x-request-id': expect.stringMatching(/./),
  });

  const first = await hold(...seat_ids);
  await buyer.release(first.body.reservation_id);
  const wanted = [...seat_ids.map((id) => `${id} HELD`), ...seat_ids.map((id) => `${id} AVAILABLE`)];
  expect(await viewer.changes(6)).toEqual(wanted);

  const second = await hold(booked ?? '');
  await buyer.payAndWait(second.body.reservation_id, 'tok_visa');
  await hold(expired ?? '');
  wanted.push(`${booked} HELD`, `${booked} BOOKED`, `${expired} HELD`, `${expired} AVAILABLE`);
  expect(await viewer.changes(10)).toEqual(wanted);

  const ids = idsOf(viewer);
  expect(ids).toEqual(await allIds(event_id));
  expect(new Set(ids).size).toBe(10);
  expect(viewer.events.map(({ event }) => event)).toEqual(ids.map(() => 'seat'));
  expect(released).toBe(seat_ids[0]);
});

test('a refused hold tells viewers of nothing that is not so', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [taken = '', free = ''] = seat_ids;
  const viewer = await view(event_id);
  await hold(taken);
  expect((await hold(free, taken)).status).toBe(409);
  expect(await viewer.changes(2)).toEqual([`${taken} HELD`, `${taken} AVAILABLE`]);
});

test('all viewers of an event are told, and none of another event', async () => {
  const house = await openHouse(1);
  const other = await openHouse(1);
  const crowd = await Promise.all(Array.from({ length: 20 }, () => view(house.event_id)));
  const stranger = await view(other.event_id);
  await house.hold(...house.seat_ids);
  for (const viewer of crowd) expect(await viewer.changes(1)).toEqual([`${house.seat_ids[0]} HELD`]);
  await other.hold(...other.seat_ids);
  expect(await stranger.changes(1)).toEqual([`${other.seat_ids[0]} HELD`]);
});

test('a viewer that comes back is told what it missed, then what comes', async () => {
  const { event_id, seat_ids, hold, buyer } = await openHouse(3);
  const [one = '', two = '', three = ''] = seat_ids;
  const before = await view(event_id);
  const first = await hold(one);
  await before.changes(1);
  before.close();
  await buyer.release(first.body.reservation_id);
  const paid = await hold(two);
  await buyer.payAndWait(paid.body.reservation_id, 'tok_visa');
  const after = await view(event_id, before.lastEventId());
  const missed = [`${one} AVAILABLE`, `${two} HELD`, `${two} BOOKED`];
  expect(await after.changes(3)).toEqual(missed);
  await hold(three);
  expect(await after.changes(4)).toEqual([...missed, `${three} HELD`]);
  expect([...idsOf(before), ...idsOf(after)]).toEqual((await allIds(event_id)).slice(0, 5));
});

test('a viewer that comes back with the id it got before any change misses nothing', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [one = '', two = ''] = seat_ids;
  await hold(one);
  const before = await view(event_id);
  before.close();
  expect(before.events).toEqual([]);
  await hold(two);
  expect(await (await view(event_id, before.lastEventId())).changes(1)).toEqual([`${two} HELD`]);
});

test('viewers that come back again and again in the middle of changes are told each once, in order', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [seat = '', busy = ''] = seat_ids;
  await hold(seat);
  let flooding = true;
  const changes = flood(event_id, busy, 6_000).finally(() => (flooding = false));

  async function comeAndGo() {
    const seen: string[] = [];
    let lastEventId = (await allIds(event_id))[0] ?? '';
    const start = lastEventId;
    for (let visit = 0; flooding || visit === 0; visit++) {
      const viewer = await view(event_id, lastEventId);
      const patience = visit % 2 === 0 ? 1 : 200;
      await until('enough seen', async () => !flooding || idsOf(viewer).length >= patience);
      viewer.close();
      expect(viewer.events.map(({ event }) => event)).not.toContain('reset');
      seen.push(...idsOf(viewer));
      lastEventId = viewer.lastEventId();
    }
    return { seen, start, lastEventId };
  }
  for (const { seen, start, lastEventId } of await Promise.all(Array.from({ length: 10 }, comeAndGo))) {
    const all = await allIds(event_id);
    expect(seen).toEqual(all.slice(all.indexOf(start) + 1, all.indexOf(lastEventId) + 1));
  }
  await changes;
});

test('an id that is too old says reset, and goes on from there', async () => {
  const { event_id, seat_ids, hold } = await openHouse(3);
  const [one = '', two = '', three = ''] = seat_ids;
  const before = await view(event_id);
  await hold(one);
  await before.changes(1);
  before.close();
  await hold(two);
  await system.stores.redis.xtrim(seatChanges(event_id), 'MAXLEN', 1);
  await flood(event_id, two, 1);
  await system.stores.redis.xtrim(seatChanges(event_id), 'MAXLEN', 1);

  const after = await view(event_id, before.lastEventId());
  await until('a reset', async () => after.events.length > 0);
  expect(after.events[0]).toMatchObject({ event: 'reset', data: {} });
  await hold(three);
  expect(await after.changes(1)).toContain(`${three} HELD`);
  after.close();
  expect(await (await view(event_id, after.events[0]?.id)).changes(1)).toContain(`${three} HELD`);
});

test.each(['0-0', '1-1', '999999999999999-0', 'nonsense', '-1', '1-2-3', '18446744073709551615-18446744073709551615'])(
  'an id that was never given out ("%s") says reset',
  async (id) => {
    const { event_id, seat_ids, hold } = await openHouse(1);
    await hold(...seat_ids);
    const viewer = await view(event_id, id);
    await until('a reset', async () => viewer.events.length > 0);
    expect(viewer.events[0]).toMatchObject({ event: 'reset' });
  },
);

test('Redis that lost everything says reset', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [one = '', two = ''] = seat_ids;
  const before = await view(event_id);
  await hold(one);
  await before.changes(1);
  before.close();
  await system.stores.redis.del(seatChanges(event_id));
  await hold(two);
  const viewer = await view(event_id, before.lastEventId());
  await until('a reset', async () => viewer.events.length > 0);
  expect(viewer.events[0]).toMatchObject({ event: 'reset' });
});

test('a viewer whose process lost its connection to Redis is told to read the map again, and goes on', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [one = '', two = ''] = seat_ids;
  const viewer = await view(event_id);
  await hold(one);
  await viewer.changes(1);
  const { redis, redisUrl } = system.stores;
  const db = `db=${new URL(redisUrl).pathname.slice(1)} `;
  const followers = await until('every follower waits for a change', async () => {
    const clients = String(await redis.client('LIST')).split('\n');
    const reading = clients.filter((line) => line.includes(db) && line.includes('cmd=xread'));
    return reading.every((line) => line.includes('flags=b ')) && reading.map((line) => line.split(/[ =]/)[1] ?? '');
  });
  for (const id of followers) await redis.client('KILL', 'ID', id);
  await until('a reset', async () => viewer.events.some(({ event }) => event === 'reset'));
  await hold(two);
  expect(await viewer.changes(2)).toContain(`${two} HELD`);
});

test('what could not be told, since Redis did not answer, says reset once it does', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [one = '', two = ''] = seat_ids;
  const viewer = await view(event_id);
  await hold(one);
  await viewer.changes(1);
  const before = viewer.lastEventId();

  const redis = connectRedis(system.stores.redisUrl, log);
  await once(redis, 'ready');
  const seatLocks = createSeatLocks(redis, log);
  const untold = { event_id, seat_ids: [two], reservation_id: 'res_untold' };
  redis.disconnect();
  await once(redis, 'end');
  await seatLocks.announce(untold, 'HELD');
  await redis.connect();
  await seatLocks.findTaken(untold);
  await until('a reset', async () => viewer.events.some(({ event }) => event === 'reset'));

  const late = await view(event_id, before);
  await until('a reset', async () => late.events.length > 0);
  expect(late.events[0]).toMatchObject({ event: 'reset', data: {} });
  redis.disconnect();
});

test('a viewer of one show is told of that show alone', async () => {
  const { event_id, first, second } = await addTwoShows(system.stores.database, 1);
  const buyer = buyerAt(system.url);
  const firstNight = await view(event_id, undefined, `?show_time=${first.time}`);
  const secondNight = await view(event_id, undefined, `?show_time=${second.time}`);
  await buyer.hold(event_id, first.seat_ids);
  await buyer.hold(event_id, second.seat_ids);
  const changesOf = (seats: string[]) => seats.flatMap((seat) => [`${seat} HELD`, `${seat} AVAILABLE`]);
  // Holds that run out together may be told of twice.
  expect([...new Set(await firstNight.changes(2))]).toEqual(changesOf(first.seat_ids));
  expect([...new Set(await secondNight.changes(2))]).toEqual(changesOf(second.seat_ids));
  expect((await buyer.call('GET', `/events/${event_id}/seats/stream`)).status).toBe(400);
});

test('viewers are told when the seats are laid out anew: by places, of the layout as it is now', async () => {
  const { event_id, seat_ids, hold } = await openHouse(1);
  const before = await view(event_id, undefined, '?format=compact');
  await addSeats(system.stores.database, event_id, 1, '0'); // a row in front
  await before.ended;
  const after = await view(event_id, before.lastEventId(), '?format=compact');
  await hold(...seat_ids);
  await until('a change', async () => after.events.length > 1);
  expect(after.events).toMatchObject([{ event: 'reset' }, { event: 'delta', data: [[1, 1]] }]);
});

test('also a viewer who was away meanwhile, and one whose map another server knows already', async () => {
  const { event_id, seat_ids, hold } = await openHouse(2);
  const [one = '', two = ''] = seat_ids;
  const positionAt = async (url: string) => {
    const asks = { origin: 'https://tickets.example' }; // which the microcache leaves alone
    const { headers } = await fetch(`${url}/api/v1/events/${event_id}/seats`, { headers: asks });
    return headers.get('seat-stream-position') ?? '';
  };
  await hold(one);
  const before = await positionAt(system.url);
  await addSeats(system.stores.database, event_id, 1, '0');
  const quicker = await startApi(system.stores, 600);
  const ahead = await positionAt(quicker.url);
  await quicker.stop();
  const layout = layoutVersionOf(ahead);
  expect(layout).toBeGreaterThan(layoutVersionOf(before));

  const early = await view(event_id, ahead);
  await until('it is known here too', async () => layoutVersionOf(await positionAt(system.url)) === layout, 20_000);
  await early.ended;
  expect(early.events).toEqual([]);
  await hold(two);
  expect(await (await view(event_id, ahead)).changes(1)).toContain(`${two} HELD`);

  const away = await view(event_id, before);
  await until('a reset', async () => away.events.length > 0);
  expect(away.events[0]).toMatchObject({ event: 'reset', id: expect.stringMatching(`-${layout}$`) });
});

test('viewers are told when the seats are laid out anew: in full, of the seats that were added', async () => {
  const { event_id, first } = await addTwoShows(system.stores.database, 1);
  const query = `?show_time=${first.time}`;
  const before = await view(event_id, undefined, query);
  const added = `${event_id}-added`;
  await system.stores.database.query(
    `INSERT INTO seats (seat_id, event_id, show_time, "row", number, x, price, status)
     SELECT $2, event_id, show_time, 'B', number, x, price, status FROM seats WHERE seat_id = $1`,
    [first.seat_ids[0], added],
  );
  await before.ended;
  const after = await view(event_id, before.lastEventId(), query);
  await buyerAt(system.url).hold(event_id, [added]);
  expect(await after.changes(1)).toContain(`${added} HELD`);
});

test('viewers that leave are forgotten', async () => {
  const { event_id } = await openHouse(1);
  const connections = async () => {
    const clients = String(await system.stores.redis.client('LIST')).split('\n');
    return clients.filter((line) => line.includes(`db=${new URL(system.stores.redisUrl).pathname.slice(1)} `)).length;
  };
  const before = await connections();
  const crowd = await Promise.all(Array.from({ length: 5 }, () => view(event_id)));
  expect(await connections()).toBe(before + 1);
  for (const viewer of crowd) viewer.close();
  await until('nobody follows the event', async () => (await connections()) === before);
});

test('a server that closes ends its streams, in the middle of changes too', async () => {
  const { event_id, seat_ids } = await openHouse(1);
  const closing = await startApi(system.stores, 600);
  const crowd = await Promise.all(Array.from({ length: 20 }, () => viewSeats(closing.url, event_id)));
  const changes = flood(event_id, seat_ids[0] ?? '', 500);
  await crowd[0]?.changes(20);
  await closing.stop();
  expect(await Promise.all(crowd.map(({ ended }) => ended))).toHaveLength(crowd.length);
  await changes;
});

test('a server that closes also ends with a viewer who came while its event was read', async () => {
  const { event_id } = await openHouse(1);
  const closing = await startApi(system.stores, 600);
  const locked = await system.stores.database.connect();
  await locked.query('BEGIN; LOCK TABLE events');
  const viewer = fetch(`${closing.url}/api/v1/events/${event_id}/seats/stream`);
  await until('the event is read', async () => {
    const { rows } = await system.stores.database.query(
      `SELECT FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted`,
    );
    return rows.length > 0;
  });
  const stopped = closing.stop();
  await until('the door is closed', () =>
    fetch(closing.url).then(
      () => false,
      () => true,
    ),
  );
  await locked.query('COMMIT');
  locked.release();
  expect((await viewer).status).toBe(503);
  await stopped;
});
