import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createCatalog } from '../../api/catalog.ts';
import { createQueries } from '../../api/queries.ts';
import { addEvent } from '../support/house.ts';
import { openStores, type Stores } from '../support/stores.ts';
import { until } from '../support/until.ts';

let stores: Stores;
let skippedMs = 0;
beforeAll(async () => {
  stores = await openStores();
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + skippedMs);
});
afterAll(async () => {
  vi.restoreAllMocks();
  await stores.close();
});

test('an event is looked at again every few seconds, but its seats are read anew only when they changed', async () => {
  const queries = createQueries(stores.database);
  const lookAtEvent = vi.spyOn(queries, 'getEventWithVersion');
  const readSeats = vi.spyOn(queries, 'getPlacedSeats');
  const catalog = createCatalog(queries);
  const look = (times: number) =>
    until(`look ${times}`, async () => {
      const entry = await catalog.get('demo-theatre');
      return lookAtEvent.mock.calls.length === times && entry;
    });

  for (let times = 1; times <= 3; times++) {
    expect((await look(times)).seats.size).toBe(1_200);
    skippedMs += 6_000;
  }
  expect(readSeats).toHaveBeenCalledTimes(1);

  await stores.database.query(`UPDATE seats SET price = 9900 WHERE seat_id = 'demo-theatre-stalls-1-1'`);
  expect((await look(4)).layouts.get(undefined)?.json.toString()).toContain('9900');
  expect(readSeats).toHaveBeenCalledTimes(2);
});

test('an event that was deleted and imported again under its ids is read anew', async () => {
  const { database } = stores;
  const catalog = createCatalog(createQueries(database));
  const { event_id, seat_ids } = await addEvent(database, 2);
  const layout = async () => (await catalog.get(event_id))?.layouts.get(undefined)?.json.toString() ?? '';
  expect(await layout()).toContain('2500');

  await database.query(
    `BEGIN;
     CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT name, date FROM events WHERE event_id = '${event_id}';
     DELETE FROM seats WHERE event_id = '${event_id}';
     DELETE FROM events WHERE event_id = '${event_id}';
     INSERT INTO events (event_id, name, date) SELECT '${event_id}', name, date FROM kept;
     INSERT INTO seats (seat_id, event_id, price) SELECT unnest('{${seat_ids.join()}}'::varchar[]), '${event_id}', 9999;
     COMMIT`,
  );
  skippedMs += 6_000;
  await until('its new price', async () => (await layout()).includes('9999'));
});

test('a seat that goes to another event leaves the one and is in the other, under whatever id', async () => {
  const { database } = stores;
  const catalog = createCatalog(createQueries(database));
  const [from, to] = [await addEvent(database, 3), await addEvent(database, 0)];
  const seatsOf = async ({ event_id }: { event_id: string }) => [
    ...((await catalog.get(event_id))?.seats.keys() ?? []),
  ];
  expect([await seatsOf(from), await seatsOf(to)]).toEqual([from.seat_ids, []]);

  const [stays, ...go] = from.seat_ids;
  await database.query('UPDATE seats SET event_id = $1 WHERE seat_id = ANY($2)', [to.event_id, go]);
  await database.query(`UPDATE seats SET seat_id = 'renamed' WHERE seat_id = $1`, [stays]);
  skippedMs += 6_000;
  await until('both are read anew', async () => {
    const seen = { from: await seatsOf(from), to: await seatsOf(to) };
    return seen.from.join() === 'renamed' && seen.to.join() === go.join();
  });
});
