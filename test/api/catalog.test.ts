import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createCatalog } from '../../api/catalog.ts';
import { createQueries } from '../../api/queries.ts';
import { openStores, type Stores } from '../support/stores.ts';

let stores: Stores;
beforeEach(async () => {
  stores = await openStores();
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
});
afterEach(async () => {
  vi.useRealTimers();
  await stores.close();
});

test('an event is looked at again every few seconds, but its seats are read anew only when they changed', async () => {
  const queries = createQueries(stores.database);
  const lookAtEvent = vi.spyOn(queries, 'getEventWithVersion');
  const readSeats = vi.spyOn(queries, 'getPlacedSeats');
  const catalog = createCatalog(queries);

  for (let look = 1; look <= 3; look++) {
    expect((await catalog.get('demo-theatre'))?.seats.size).toBe(1_200);
    vi.advanceTimersByTime(6_000);
    expect(lookAtEvent).toHaveBeenCalledTimes(look);
  }
  expect(readSeats).toHaveBeenCalledTimes(1);

  await stores.database.query(`UPDATE seats SET price = 9900 WHERE seat_id = 'demo-theatre-stalls-1-1'`);
  const entry = await catalog.get('demo-theatre');
  expect(entry?.layouts.get(undefined)?.json.toString()).toContain('9900');
  expect(readSeats).toHaveBeenCalledTimes(2);
});
