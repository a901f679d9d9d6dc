import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createCatalog } from '../../api/catalog.ts';
import { createQueries } from '../../api/queries.ts';
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
