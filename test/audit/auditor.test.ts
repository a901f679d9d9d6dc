/** What an operator's Terminate leaves behind comes back by itself; what cannot be mended safely is counted. */
import { Client, Connection, WithStartWorkflowOperation, type WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createAudits } from '../../activities/audits.ts';
import { createSeatActivities, type Activities } from '../../activities/index.ts';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import { inspectEvent, type EventFaults } from '../../audit/inspect.ts';
import { NO_FAULTS } from '../../audit/sweep.ts';
import { bookingId } from '../../domain/booking-id.ts';
import { bookedSeats, seatChanges, seatLock } from '../../domain/redis-keys.ts';
import { keepAuditSchedules, renewAuditSchedules } from '../../worker/audit-schedules.ts';
import { TaskQueues, claim, pay, payment, searchAttributes, stage } from '../../workflows/messages.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { SEAT_PRICE, addEvent } from '../support/house.ts';
import { log, openStores, type Stores } from '../support/stores.ts';
import { startAuditor, startWorkers, type RunningWorkers } from '../support/system.ts';
import { until } from '../support/until.ts';

const NOTHING: EventFaults = {
  ...NO_FAULTS,
  overdue_holds: [],
  orphaned_payments: [],
  missing_locks: [],
  unknown_workflows: [],
};

const SOON = { timeout: 15_000, interval: 50 };
const END_ALL_SALES = `UPDATE events SET date = now() - interval '1 day'`;

let stores: Stores;
let temporal: Client;
const running: RunningWorkers[] = [];

/** By reservation: the activity in which the operator terminates its workflow, and on which side of its effect. */
const terminations = new Map<string, { activity: string; when: 'before' | 'after' }>();

async function reservationOf(input: { reservation_id?: string; charge_id?: string }): Promise<string> {
  if (input.reservation_id !== undefined) return input.reservation_id;
  const { rows } = await stores.database.query<{ reservation_id: string }>(
    'SELECT reservation_id FROM sandbox_gateway.charges WHERE charge_id = $1',
    [input.charge_id],
  );
  return rows[0]?.reservation_id ?? '';
}

/** The activity goes on after the termination, as one in another process would. */
const terminating = <Group extends object>(group: Group): Group =>
  new Proxy(group, {
    get(target, name) {
      const activity: unknown = Reflect.get(target, name);
      if (typeof activity !== 'function') return activity;
      return async (input: { reservation_id?: string; charge_id?: string }) => {
        const reservationId = await reservationOf(input);
        const termination = terminations.get(reservationId);
        const strike = termination?.activity === name ? termination : undefined;
        if (strike) terminations.delete(reservationId);
        const terminate = () => temporal.workflow.getHandle(reservationId).terminate('by an operator');
        if (strike?.when === 'before') await terminate();
        const answer: unknown = await Reflect.apply(activity, target, [input]);
        if (strike?.when === 'after') await terminate();
        return answer;
      };
    },
  });

beforeAll(async () => {
  stores = await openStores();
  const connection = await Connection.connect({ address: inject('temporal_address') });
  temporal = new Client({ connection, namespace: stores.namespace });
  running.push(
    await startWorkers(stores, ({ seats, payments, notifications }: Activities) => ({
      seats: terminating(seats),
      payments: terminating(payments),
      notifications,
    })),
    await startAuditor(stores),
    await startAuditor(stores),
  );
});
afterAll(async () => {
  await Promise.all(running.map((it) => it.stop()));
  await temporal.connection.close();
  await stores.close();
});

/** An event of its own, and the only one that is audited from now on. */
async function openSale(seats: number) {
  await stores.database.query(END_ALL_SALES);
  const event = await addEvent(stores.database, seats);
  await renewAuditSchedules({ ...stores, temporal }, 1_000);
  return event;
}

let reservations = 0;

async function hold(event_id: string, seat_ids: string[], hold_seconds: number): Promise<WorkflowHandle> {
  const workflowId = `res_audited_${++reservations}`;
  const input = { event_id, user_id: 'ann', seat_ids, hold_seconds, answer_within_ms: 10_000 };
  const reserved = await temporal.workflow.executeUpdateWithStart(claim, {
    args: [input],
    startWorkflowOperation: new WithStartWorkflowOperation('reservation', {
      workflowId,
      taskQueue: TaskQueues.reservations,
      args: [input],
      workflowIdConflictPolicy: 'FAIL',
      typedSearchAttributes: [{ key: searchAttributes.EventId, value: event_id }],
    }),
  });
  expect(reserved.status).toBe('HELD');
  return temporal.workflow.getHandle(workflowId);
}

async function reservationRow(reservationId: string) {
  const { rows } = await stores.database.query<{ status: string; fence: string; healed: boolean }>(
    'SELECT status, fence, healed_at IS NOT NULL AS healed FROM reservations WHERE reservation_id = $1',
    [reservationId],
  );
  return rows[0];
}

async function seatsOf(seatIds: string[]) {
  const { rows } = await stores.database.query<{ status: string; fence: string }>(
    'SELECT status, fence FROM seats WHERE seat_id = ANY($1) ORDER BY seat_id',
    [seatIds],
  );
  return rows;
}

/** As the last audit of the event counted them. */
async function countedIn(eventId: string): Promise<Record<string, number> | undefined> {
  const { rows } = await stores.database.query<{ faults: Record<string, number> }>(
    'SELECT faults FROM audits WHERE event_id = $1',
    [eventId],
  );
  return rows[0]?.faults;
}

const ended = (reservationId: string) =>
  until(
    `the end of ${reservationId}`,
    async () => {
      const row = await reservationRow(reservationId);
      return row?.status !== 'HELD' && row;
    },
    25_000,
  );

const healed = (reservationId: string) =>
  until(
    `the healing of ${reservationId}`,
    async () => {
      const row = await reservationRow(reservationId);
      return row?.healed === true && row.status;
    },
    25_000,
  );

test('a hold whose workflow was terminated is freed after its deadline, and a late write of its worker changes nothing', async () => {
  const { event_id, seat_ids } = await openSale(2);
  const workflow = await hold(event_id, seat_ids, 1);
  const fence = (await reservationRow(workflow.workflowId))?.fence ?? '';
  await workflow.terminate();

  expect(await healed(workflow.workflowId)).toBe('EXPIRED');
  const freed = await seatsOf(seat_ids);
  expect(freed.map(({ status }) => status)).toEqual(['AVAILABLE', 'AVAILABLE']);
  for (const seat of freed) expect(Number(seat.fence)).toBeGreaterThan(Number(fence));
  await expectNoFaults(stores);

  const late = createSeatActivities(stores.database, createSeatLocks(stores.redis, log));
  const mine = { event_id, seat_ids, reservation_id: workflow.workflowId, fence };
  expect(await late.bookSeats(mine)).toBe(false);
  const next = await hold(event_id, seat_ids, 60);
  expect(await late.bookSeats(mine)).toBe(false);
  await late.unlockSeats({ ...mine, sold: false });
  await late.releaseSeats({ ...mine, user_id: 'ann', ending: 'EXPIRED' });
  expect((await seatsOf(seat_ids)).map(({ status }) => status)).toEqual(['HELD', 'HELD']);
  expect(await stores.redis.get(seatLock(event_id, seat_ids[0] ?? ''))).toBe(next.workflowId);
  await next.cancel();
  expect(await next.result()).toBe('RELEASED');
  await expectNoFaults(stores);
});

test('a payment whose workflow was terminated ends with the money equal to what is booked', async () => {
  const steps = [
    ['openBooking', 'before', 'EXPIRED'],
    ['openBooking', 'after', 'EXPIRED'],
    ['authorisePayment', 'before', 'EXPIRED'],
    ['authorisePayment', 'after', 'EXPIRED'],
    ['bookSeats', 'before', 'CONFIRMED'],
    ['bookSeats', 'after', 'CONFIRMED'],
    ['capturePayment', 'before', 'CONFIRMED'],
    ['capturePayment', 'after', 'CONFIRMED'],
    ['confirmBooking', 'before', 'CONFIRMED'],
    ['confirmBooking', 'after', 'CONFIRMED'],
  ] as const;
  const { event_id, seat_ids } = await openSale(2 * steps.length);
  const outcomes = steps.map(async ([activity, when], i) => {
    const workflow = await hold(event_id, seat_ids.slice(2 * i, 2 * i + 2), 60);
    terminations.set(workflow.workflowId, { activity, when });
    await workflow.executeUpdate(pay, { args: [{ payment_token: 'tok_visa' }] }).catch(() => undefined);
    const { status } = await ended(workflow.workflowId);
    const { rows } = await stores.database.query('SELECT status FROM bookings WHERE booking_id = $1', [
      bookingId(workflow.workflowId, 1),
    ]);
    return [activity, when, status, rows[0]?.status];
  });
  expect(await Promise.all(outcomes)).toEqual(
    steps.map(([activity, when, ending]) => [activity, when, ending, ending === 'CONFIRMED' ? 'CONFIRMED' : 'FAILED']),
  );
  expect(terminations.size).toBe(0);
  await expectNoFaults(stores);
});

test('money that a webhook told of goes back where its reservation was terminated', async () => {
  const { event_id, seat_ids } = await openSale(1);
  const { workflowId, ...workflow } = await hold(event_id, seat_ids, 60);
  const gateway = createSandboxGateway(stores.database);
  const price = { amount: SEAT_PRICE, currency: 'EUR' };
  const charge = await gateway.authorise({
    idempotency_key: `webhook ${workflowId}`,
    reservation_id: workflowId,
    payment_token: 'tok_visa',
    price,
  });
  expect(charge.status).toBe('AUTHORIZED');
  terminations.set(workflowId, { activity: 'verifyCharge', when: 'after' });
  if ('charge_id' in charge) await workflow.signal(payment, { charge_id: charge.charge_id });
  expect(await healed(workflowId)).toBe('EXPIRED');
  expect(await gateway.chargesOf(workflowId)).toMatchObject([{ status: 'VOIDED' }, { status: 'VOIDED' }]);
  await expectNoFaults(stores);
});

test('Redis that lost everything is told of, and PostgreSQL refuses in its stead', async () => {
  const { event_id, seat_ids } = await openSale(2);
  const workflow = await hold(event_id, seat_ids, 60);
  await stores.redis.flushdb();
  await expect.poll(() => countedIn(event_id), SOON).toMatchObject({ missing_locks: 2, stale_locks: 0 });
  const holds = createSeatActivities(stores.database, createSeatLocks(stores.redis, log));
  const other = { event_id, seat_ids, reservation_id: 'res_other', user_id: 'bob', hold_seconds: 60, rescue: false };
  expect(await holds.holdSeats(other)).toEqual({ conflicts: seat_ids });
  await workflow.cancel();
  await workflow.result();
  await expect.poll(() => countedIn(event_id), SOON).toMatchObject({ missing_locks: 0 });
  await expectNoFaults(stores);
});

test('seats that were sold before Redis lost everything are refused by it again', async () => {
  const { event_id, seat_ids } = await openSale(2);
  const workflow = await hold(event_id, seat_ids.slice(0, 1), 60);
  await workflow.executeUpdate(pay, { args: [{ payment_token: 'tok_visa' }] });
  await workflow.result();
  await stores.redis.flushdb();
  const seatLocks = createSeatLocks(stores.redis, log);
  const taken = () => seatLocks.findTaken({ event_id, seat_ids, reservation_id: 'res_next' });
  await until('the audit has seen it', async () => (await taken()).length > 0);
  expect(await taken()).toEqual(seat_ids.slice(0, 1));
  await expectNoFaults(stores);
});

test('faults of every kind are counted, and only what is safe is mended', async () => {
  const { event_id, seat_ids } = await openSale(4);
  const [orphaned = '', booked = '', paid = '', locked = ''] = seat_ids;
  const { database, redis } = stores;
  await database.query(`UPDATE seats SET status = 'HELD', reservation_id = 'res_nobody' WHERE seat_id = $1`, [
    orphaned,
  ]);
  const lost = await hold(event_id, [booked], 60);
  await database.query(`UPDATE seats SET status = 'BOOKED' WHERE seat_id = $1`, [booked]);
  const unpaid = await hold(event_id, [paid], 60);
  await unpaid.executeUpdate(pay, { args: [{ payment_token: 'tok_visa' }] });
  await database.query(
    `UPDATE sandbox_gateway.charges SET status = 'REFUNDED', created_at = now() - interval '1 minute'
     WHERE reservation_id = $1`,
    [unpaid.workflowId],
  );
  await temporal.workflow.start('reservation', {
    workflowId: `res_unknown_${event_id}`,
    taskQueue: 'nobody works on this',
    typedSearchAttributes: [{ key: searchAttributes.EventId, value: event_id }],
  });
  await temporal.workflow.start('reservation', {
    workflowId: `res_unknown_too_${event_id}`,
    taskQueue: 'nobody works on this',
    typedSearchAttributes: [{ key: searchAttributes.EventId, value: event_id }],
  });
  const counts = {
    orphaned_seats: 2, // the planted BOOKED one as well: its reservation is only HELD
    lost_seats: 1,
    wrong_money: 1,
    stale_locks: 0,
    overdue_holds: 0,
    orphaned_payments: 0,
    missing_locks: 1, // the orphaned seat's
    unknown_workflows: 2,
  };
  await expect.poll(() => countedIn(event_id), SOON).toEqual(counts);

  await redis.set(seatLock(event_id, locked), 'res_long_gone');
  await expect.poll(() => redis.get(seatLock(event_id, locked)), SOON).toBeNull();
  const { rows } = await database.query<{ deleted: string }>(
    'SELECT locks_deleted AS deleted FROM audits WHERE event_id = $1',
    [event_id],
  );
  expect(Number(rows[0]?.deleted)).toBeGreaterThanOrEqual(1);
  expect(await inspectEvent({ ...stores, temporal }, event_id, 1)).toMatchObject({
    faults: {
      orphaned_seats: expect.arrayContaining([orphaned, booked]),
      lost_seats: [booked],
      wrong_money: [unpaid.workflowId],
      unknown_workflows: expect.arrayContaining([`res_unknown_${event_id}`]),
    },
  });
  for (const id of [`res_unknown_${event_id}`, `res_unknown_too_${event_id}`]) {
    await temporal.workflow.getHandle(id).terminate();
  }
  await lost.terminate();
  await database.query(`UPDATE seats SET status = 'AVAILABLE', reservation_id = NULL WHERE event_id = $1`, [event_id]);
  const ofThisSale = `reservation_id IN (SELECT reservation_id FROM reservations WHERE event_id = $1)`;
  await database.query(`DELETE FROM bookings WHERE ${ofThisSale}`, [event_id]);
  await database.query(`DELETE FROM sandbox_gateway.charges WHERE ${ofThisSale}`, [event_id]);
  await database.query('DELETE FROM reservations WHERE event_id = $1', [event_id]);
  await redis.flushdb();
});

test('a workflow of which PostgreSQL never heard is found while others buy', async () => {
  const { event_id } = await openSale(1);
  const workflowId = `res_unknown_${event_id}`;
  const unknown = await temporal.workflow.start('reservation', {
    workflowId,
    taskQueue: 'nobody works on this',
    typedSearchAttributes: [{ key: searchAttributes.EventId, value: event_id }],
  });
  const find = async () => (await inspectEvent({ ...stores, temporal }, event_id, 1)).faults.unknown_workflows;
  await until('it is old enough', async () => (await find()).length > 0);
  await stores.database.query(
    `INSERT INTO reservations VALUES ('res_new', $1, 'ann', '{}', 0, 'EUR', 'HELD', 1, now() + $2, now() + $2, now() + $2)`,
    [event_id, '1 minute'], // new however long the audit takes
  );
  expect(await find()).toEqual([workflowId]);
  await unknown.terminate();
  await stores.database.query('DELETE FROM reservations WHERE event_id = $1', [event_id]);
});

test('a sale without faults has none at any moment of it', async () => {
  const { event_id, seat_ids } = await openSale(40);
  const acts = [
    (workflow: WorkflowHandle) => workflow.executeUpdate(pay, { args: [{ payment_token: 'tok_visa' }] }),
    (workflow: WorkflowHandle) => workflow.executeUpdate(pay, { args: [{ payment_token: 'tok_lost_reply' }] }),
    (workflow: WorkflowHandle) => workflow.cancel(),
    undefined,
    (workflow: WorkflowHandle) => workflow.executeUpdate(pay, { args: [{ payment_token: 'tok_declined' }] }),
  ];
  const sale = { isOn: true };
  const buyers = Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      const act = acts[n % acts.length];
      const workflow = await hold(event_id, seat_ids.slice(2 * n, 2 * n + 2), act ? 60 : 2);
      await act?.(workflow);
      if ((await workflow.query(stage)) === 'HELD' && act) await workflow.cancel();
      await workflow.result();
    }),
  ).finally(() => (sale.isOn = false));
  let audits = 0;
  while (sale.isOn) {
    const { faults, failures } = await inspectEvent({ ...stores, temporal }, event_id);
    expect(faults).toEqual(NOTHING);
    if (failures.length === 0) audits++;
  }
  await buyers;
  expect(audits).toBeGreaterThan(3);
  await expectNoFaults(stores);
}, 60_000);

test('a seat that Redis calls sold and PostgreSQL does not is for sale again', async () => {
  const { event_id, seat_ids } = await openSale(2);
  const seatLocks = createSeatLocks(stores.redis, log);
  await seatLocks.unlock({ event_id, seat_ids, reservation_id: 'res_before_the_restore' }, true);
  await stores.database.query(`UPDATE seats SET status = 'BOOKED' WHERE seat_id = $1`, [seat_ids[1]]);
  const taken = () => seatLocks.findTaken({ event_id, seat_ids, reservation_id: 'res_next' });
  await until('the audit has seen it', async () => (await taken()).length < 2);
  expect(await taken()).toEqual(seat_ids.slice(1));
  await stores.database.query(`UPDATE seats SET status = 'AVAILABLE' WHERE event_id = $1`, [event_id]);
});

test('an event that is over is audited no more, and Redis forgets it', async () => {
  const { event_id, seat_ids } = await openSale(1);
  const workflow = await hold(event_id, seat_ids, 60);
  await workflow.executeUpdate(pay, { args: [{ payment_token: 'tok_visa' }] });
  await workflow.result();
  expect(await stores.redis.exists(bookedSeats(event_id), seatChanges(event_id))).toBe(2);
  const schedule = temporal.schedule.getHandle(`audit:${event_id}`);
  expect((await schedule.describe()).policies.overlap).toBe('SKIP');
  await stores.database.query(END_ALL_SALES);
  await until('the schedule is gone', async () => {
    await renewAuditSchedules({ ...stores, temporal }, 1_000);
    return schedule.describe().then(
      () => false,
      () => true,
    );
  });
  const audits = createAudits({ ...stores, temporal }, createSeatLocks(stores.redis, log), log);
  await audits.auditEvent(event_id); // the last one, which was under way
  expect(await stores.redis.keys(`*${event_id}*`)).toEqual([]);
});

test('an event on sale keeps its audits when a thousand others come before it; a stop does not wait for those', async () => {
  const { event_id, seat_ids } = await openSale(1);
  const seats = { event_id, seat_ids, reservation_id: 'res_seen' };
  await createSeatLocks(stores.redis, log).announce(seats, 'HELD');
  await stores.database.query(
    `INSERT INTO events (event_id, name, date)
     SELECT 'earlier-' || n, 'A concert', now() + interval '1 day' FROM generate_series(1, 1000) AS n`,
  );
  const schedule = (id: string) => temporal.schedule.getHandle(`audit:${id}`).describe();
  const renewals = keepAuditSchedules({ ...stores, temporal }, log);
  await until('it has begun', () => schedule('earlier-1')); // after those of events that are over went
  await renewals.stop();
  await expect(schedule('earlier-999')).rejects.toThrow('not found');
  await schedule(event_id);
  expect(await stores.redis.exists(seatChanges(event_id))).toBe(1);
});
