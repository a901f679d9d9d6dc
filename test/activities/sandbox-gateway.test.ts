/** The sandbox gateway does what the contract says of its tokens. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GatewayUnavailable } from '../../activities/payments.ts';
import { createSandboxGateway, listSandboxCharges } from '../../activities/sandbox-gateway.ts';
import { openStores, type Stores } from '../support/stores.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await openStores();
});
afterAll(() => stores.close());

const price = { amount: 17_000, currency: 'EUR' };

/** A payment with a token: how to ask for it, and what is in the gateway's books. */
function payment(payment_token: string) {
  const reservation_id = `res_${payment_token}`;
  const request = { idempotency_key: `bkg_${payment_token}`, reservation_id, payment_token, price };
  return {
    authorise: () => createSandboxGateway(stores.database).authorise(request),
    cancel: () => createSandboxGateway(stores.database).cancel(request),
    statuses: async () => (await listSandboxCharges(stores.database, reservation_id)).map(({ status }) => status),
  };
}

test.each(['tok_visa', 'tok_slow'])('%s is approved, and charged once when it is asked for twice', async (token) => {
  const { authorise, statuses } = payment(token);
  const [charge, again] = await Promise.all([authorise(), authorise()]);
  expect(charge).toMatchObject({ status: 'AUTHORIZED' });
  expect(again).toEqual(charge);
  expect(await statuses()).toEqual(['AUTHORIZED']);
});

test.each(['tok_declined', 'tok_of_nobody'])('%s is declined, and stays declined', async (token) => {
  const { authorise, statuses } = payment(token);
  expect(await authorise()).toMatchObject({ status: 'DECLINED' });
  expect(await authorise()).toMatchObject({ status: 'DECLINED' });
  expect(await statuses()).toEqual(['DECLINED']);
});

test('tok_flaky fails twice and is charged at the third try', async () => {
  const { authorise, statuses } = payment('tok_flaky');
  await expect(authorise()).rejects.toThrow(GatewayUnavailable);
  await expect(authorise()).rejects.toThrow(GatewayUnavailable);
  expect(await statuses()).toEqual([]);
  expect(await authorise()).toMatchObject({ status: 'AUTHORIZED' });
  expect(await statuses()).toEqual(['AUTHORIZED']);
});

test('tok_lost_reply is charged although nothing is heard of it, and a retry finds that charge', async () => {
  const { authorise, cancel, statuses } = payment('tok_lost_reply');
  await expect(authorise()).rejects.toThrow(GatewayUnavailable);
  expect(await statuses()).toEqual(['AUTHORIZED']);
  expect(await authorise()).toMatchObject({ status: 'AUTHORIZED' });
  expect(await statuses()).toEqual(['AUTHORIZED']);
  await cancel();
  expect(await statuses()).toEqual(['VOIDED']);
});

test('a charge is good only for its own reservation and price', async () => {
  const gateway = createSandboxGateway(stores.database);
  const request = { idempotency_key: 'own', reservation_id: 'res_own', payment_token: 'tok_visa', price };
  const charge = await gateway.authorise(request);
  if (charge.status !== 'AUTHORIZED') throw new Error(charge.detail);
  const { charge_id } = charge;
  expect(await gateway.verify(charge_id, 'res_own', price)).toEqual(charge);
  expect(await gateway.verify(charge_id, 'res_other', price)).toMatchObject({ status: 'DECLINED' });
  expect(await gateway.verify(charge_id, 'res_own', { ...price, amount: 1 })).toMatchObject({ status: 'DECLINED' });
  await gateway.giveBack(charge_id, 'res_other');
  expect(await gateway.capture(charge_id)).toBe(true);
  await gateway.giveBack(charge_id, 'res_own');
  expect(await gateway.capture(charge_id)).toBe(false);
  expect(await listSandboxCharges(stores.database, 'res_own')).toMatchObject([{ charge_id, status: 'REFUNDED' }]);
});
