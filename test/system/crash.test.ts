/** `npm start` as a whole, through the death of each of its processes, its own end and a second start. */
import { Client, Connection } from '@temporalio/client';
import proto from '@temporalio/proto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Event, Seat } from '../../domain/model.ts';
import { descendantsOf, runningProcesses } from '../support/command.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { viewSeats } from '../support/seat-viewer.ts';
import { makeDataDir, removeDataDir, startProduct, type Product } from './product.ts';

const { PENDING_ACTIVITY_STATE_STARTED } = proto.temporal.api.enums.v1.PendingActivityState;
const RECOVERY = { timeout: 30_000, interval: 100 };
const EVENT = 'demo-theatre';
vi.setConfig({ testTimeout: 120_000 }); // each has several recoveries

let dataDir: string;
let product: Product;
beforeAll(async () => {
  dataDir = await makeDataDir();
  product = await startProduct(dataDir, { HOLD_SECONDS: '300' });
});
afterAll(() => removeDataDir(dataDir));

const seat = (number: number) => `demo-theatre-circle-1-${number}`;

async function holdOf(number: number): Promise<string> {
  const { status, body } = await product.buyer.hold(EVENT, [seat(number)], 'ann');
  expect(status).toBe(201);
  return body.reservation_id;
}

async function statusOf(number: number) {
  const { body } = await product.buyer.call<Seat[]>('GET', `/events/${EVENT}/seats`);
  return body.find(({ seat_id }) => seat_id === seat(number))?.status;
}

/** Pays as a good client does: what was not settled is asked for again. */
async function payUntilConfirmed(reservationId: string): Promise<void> {
  const pay = async () => (await product.buyer.payAndWait(reservationId, 'tok_visa')).body.status;
  await expect.poll(pay, RECOVERY).toBe('CONFIRMED');
}

async function expectChargedOnce(reservationId: string): Promise<void> {
  const charges = await product.buyer.charges(reservationId);
  expect(charges.filter(({ status }) => status !== 'VOIDED')).toMatchObject([{ status: 'CAPTURED', amount: 6_000 }]);
}

test('a buyer finds an event and its seats, holds some and pays; another one is refused meanwhile', async () => {
  const { buyer } = product;
  const { body } = await buyer.call<{ events: Event[] }>('GET', '/events');
  expect(body.events.map(({ event_id }) => event_id)).toEqual([EVENT, 'demo-stadium']);
  expect(await statusOf(1)).toBe('AVAILABLE');

  const reservationId = await holdOf(1);
  expect(await buyer.hold(EVENT, [seat(1)], 'bob')).toMatchObject({
    status: 409,
    body: { code: 'SEATS_UNAVAILABLE', conflicts: [seat(1)] },
  });
  const paid = await buyer.payAndWait(reservationId, 'tok_visa');
  expect(paid).toMatchObject({ status: 201, body: { status: 'CONFIRMED', seat_ids: [seat(1)] } });
  await expectChargedOnce(reservationId);
  await expectNoFaults(product.stores);
});

test('a worker killed during a payment costs neither the booking nor a second charge', async () => {
  const reservationId = await holdOf(2);
  const { status, body } = await product.buyer.pay(reservationId, 'tok_slow');
  expect([status, body.status]).toEqual([202, 'PENDING']);
  await paymentUnderWay(reservationId);
  await product.crash('worker');
  const booking = async () => (await product.buyer.booking(body.booking_id)).body.status;
  await expect.poll(booking, RECOVERY).toBe('CONFIRMED');
  await expectChargedOnce(reservationId);
  await expectNoFaults(product.stores);
});

async function paymentUnderWay(reservationId: string): Promise<void> {
  const connection = Connection.lazy({ address: product.temporalAddress });
  const { workflow } = new Client({ connection });
  const isAtGateway = async () => {
    const { raw } = await workflow.getHandle(reservationId).describe();
    return raw.pendingActivities?.some(({ state }) => state === PENDING_ACTIVITY_STATE_STARTED);
  };
  await expect.poll(isAtGateway, RECOVERY).toBe(true);
  await connection.close();
}

test.each([
  ['api', 3],
  ['PostgreSQL', 4],
  ['Redis', 5],
  ['Temporal', 6],
])('a hold outlives a crash of %s, and can be paid for', async (name, number) => {
  const reservationId = await holdOf(number);
  await product.crash(name);
  await expect
    .poll(() => product.buyer.reservation(reservationId), RECOVERY)
    .toMatchObject({ status: 200, body: { status: 'HELD', seat_ids: [seat(number)] } });
  await payUntilConfirmed(reservationId);
  await expectChargedOnce(reservationId);
  await expectNoFaults(product.stores);
});

test('a viewer who comes back after a crash of Redis, which may have lost a second, is told to read the map again', async () => {
  const { url, buyer } = product;
  const before = await viewSeats(url, EVENT);
  const { reservation_id } = (await buyer.hold(EVENT, [seat(10)], 'ann')).body;
  await before.changes(1);
  before.close();
  await product.crash('Redis');
  const readiness = async () => (await fetch(`${url}/readyz`)).json();
  await expect.poll(readiness, RECOVERY).toMatchObject({ dependencies: { redis: { state: 'up' } } });
  const after = await viewSeats(url, EVENT, before.lastEventId());
  await expect.poll(() => after.events.map(({ event }) => event), RECOVERY).toEqual(['reset']);
  await buyer.release(reservation_id);
  const toldNext = () => after.events[1]?.data.status ?? after.events[1]?.event;
  await expect.poll(toldNext, RECOVERY).toMatch(/^(AVAILABLE|reset)$/); // the change, or that one cannot be told
  after.close();
});

test('SIGTERM ends everything that was started, and a second start finds its data again', async () => {
  const open = await holdOf(7);
  const started = await descendantsOf(product.command.child);
  expect(started.length).toBeGreaterThanOrEqual(6);
  expect(await product.stop()).toBe(0);
  const left = (await runningProcesses()).filter(
    ({ pid, command }) => started.includes(pid) || command.includes(dataDir),
  );
  expect(left).toEqual([]);

  product = await startProduct(dataDir, { HOLD_SECONDS: '300' });
  expect([await statusOf(1), await statusOf(7), await statusOf(8)]).toEqual(['BOOKED', 'HELD', 'AVAILABLE']);
  expect((await product.buyer.hold(EVENT, [seat(7)], 'bob')).status).toBe(409);
  await payUntilConfirmed(open);
  await expectNoFaults(product.stores);
});

test('a start after one that was killed takes over what that one left running', async () => {
  const open = await holdOf(9);
  await product.kill();
  product = await startProduct(dataDir, { HOLD_SECONDS: '5' });
  expect(await product.command.says('stopping ')).toContain('which an earlier start left running');
  await payUntilConfirmed(open);
  await expectNoFaults(product.stores);
});

test('a hold that nobody pays for expires, and its seat is free again', async () => {
  const reservationId = await holdOf(8);
  const status = async () => (await product.buyer.reservation(reservationId)).body.status;
  expect(await status()).toBe('HELD');
  await expect.poll(status, RECOVERY).toBe('EXPIRED');
  await expect.poll(() => statusOf(8), RECOVERY).toBe('AVAILABLE');
  expect(await product.buyer.pay(reservationId, 'tok_visa')).toMatchObject({
    status: 410,
    body: { code: 'RESERVATION_EXPIRED' },
  });
  await expectNoFaults(product.stores);
});

test('also where the API that had it in memory was killed a moment ago', async () => {
  const { reservation_id, expires_at } = (await product.buyer.hold(EVENT, [seat(11)], 'ann')).body;
  expect((await product.buyer.payAndWait(reservation_id, 'tok_declined')).status).toBe(402);
  await product.crash('api');
  const status = async () => (await product.buyer.reservation(reservation_id)).body.status;
  await expect.poll(status, RECOVERY).toBe('EXPIRED');
  expect(Date.now() - Date.parse(expires_at)).toBeLessThan(5_000);
  await expectNoFaults(product.stores);
});
