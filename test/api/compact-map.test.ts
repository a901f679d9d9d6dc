import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Seat, SeatStatus } from '../../domain/model.ts';
import { buyerAt } from '../support/buyer.ts';
import { startSystem } from '../support/system.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
beforeAll(async () => {
  system = await startSystem();
});
afterAll(() => system.stop());

const STATUSES: SeatStatus[] = ['AVAILABLE', 'HELD', 'BOOKED'];

const get = (path: string) => fetch(`${system.url}${path}`);

test('the compact map with its layout says what the full map says, in two bits a seat', async () => {
  const buyer = buyerAt(system.url);
  await buyer.hold('demo-stadium', ['demo-stadium-block-7-3-9']);
  const paid = await buyer.hold('demo-stadium', ['demo-stadium-block-20-50-50']);
  await buyer.payAndWait(paid.body.reservation_id, 'tok_visa');

  const map = await get('/api/v1/events/demo-stadium/seats?format=compact');
  const packed = Buffer.from(await map.arrayBuffer());
  expect(packed.length).toBe(12_500);
  expect(map.headers.get('seat-stream-position')).toMatch(/^\d+-\d+-\w{8}-\d+$/);

  const path = /<(.*)>; rel="describedby"/.exec(map.headers.get('link') ?? '')?.[1] ?? '';
  const layout = await get(path);
  expect(layout.headers.get('cache-control')).toContain('immutable');
  const seats: Omit<Seat, 'status'>[] = JSON.parse(await layout.text());
  const full: Seat[] = JSON.parse(await (await get('/api/v1/events/demo-stadium/seats')).text());
  const unpacked = seats.map((seat, i) => ({
    ...seat,
    status: STATUSES[((packed[i >> 2] ?? 0) >> ((i & 3) * 2)) & 3],
  }));
  expect(unpacked).toEqual(full);
  expect(full.filter(({ status }) => status === 'BOOKED').map(({ seat_id }) => seat_id)).toEqual(paid.body.seat_ids);
});

test('a layout that is no longer is not found', async () => {
  const answer = await get('/api/v1/events/demo-stadium/seats/layouts/of-yesterday');
  expect(answer.status).toBe(404);
  expect(await answer.json()).toMatchObject({ code: 'LAYOUT_NOT_FOUND' });
});

test('compact viewers are told places in the layout and new statuses, all that came together in one event', async () => {
  const stopped = new AbortController();
  const stream = await fetch(`${system.url}/api/v1/events/demo-theatre/seats/stream?format=compact`, {
    signal: stopped.signal,
  });
  const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
  await buyerAt(system.url).hold('demo-theatre', ['demo-theatre-stalls-1-1', 'demo-theatre-stalls-1-2']);
  let told = '';
  while (!told.includes('event: delta')) told += (await reader?.read())?.value ?? '';
  stopped.abort();
  expect(told).toMatch(/event: delta\ndata: \[\[0,1\],\[1,1\]\]\n/);
});
