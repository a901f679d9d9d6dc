import { afterAll, beforeAll, expect, test } from 'vitest';
import { buyerAt } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { startSystem } from '../support/system.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
beforeAll(async () => {
  system = await startSystem();
});
afterAll(() => system.stop());

test('a buyer holds seats, pays, and has them', async () => {
  const buyer = buyerAt(system.url);
  const seats = ['demo-theatre-stalls-1-1', 'demo-theatre-stalls-1-2'];
  const held = await buyer.hold('demo-theatre', seats);
  expect(held.status).toBe(201);
  const paid = await buyer.payAndWait(held.body.reservation_id, 'tok_visa');
  expect(paid.status).toBe(201);
  expect(paid.body).toMatchObject({ status: 'CONFIRMED', seat_ids: seats });
  expect(await buyer.charges(held.body.reservation_id)).toMatchObject([{ status: 'CAPTURED', amount: 17_000 }]);
  await expectNoFaults(system.stores);
});
