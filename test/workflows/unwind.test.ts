/** Whatever step fails, before or after it takes effect, a reservation ends with a clean slate. */
import type { WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createActivities, type Activities } from '../../activities/index.ts';
import type { PaymentGateway } from '../../activities/payments.ts';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { pay, payment, release } from '../../workflows/messages.ts';
import { NO_FAULTS, findFaults } from '../../audit/sweep.ts';
import { surround } from '../support/fault-injection.ts';
import { log, openStores, type Stores } from '../support/stores.ts';
import { startTimeSkipping } from '../support/time-skipping.ts';

type When = 'before' | 'after';

interface Fault {
  activity: string;
  when: When;
  error: Error;
  /** How many more calls fail. */
  left: number;
  struck: boolean;
}

let fault: Fault | undefined;
let isCaptureRefused = false;
let stores: Stores;
let gateway: PaymentGateway;
/** Without faults. */
let activities: Activities;
let temporal: Awaited<ReturnType<typeof startTimeSkipping>>;

/** Fails where it is planted to. */
async function withFault(activity: string, call: () => Promise<unknown>): Promise<unknown> {
  const strike = fault?.activity === activity && fault.left-- > 0 ? fault : undefined;
  if (strike) strike.struck = true;
  if (strike?.when === 'before') throw strike.error;
  const answer = await call();
  if (strike?.when === 'after') throw strike.error;
  return activity === 'capturePayment' && isCaptureRefused ? false : answer;
}

beforeAll(async () => {
  stores = await openStores();
  gateway = createSandboxGateway(stores.database);
  activities = createActivities({
    ...stores,
    seatLocks: createSeatLocks(stores.redis, log),
    gateway,
    smtpUrl: undefined,
    mailFrom: 'box-office@localhost',
    log,
  });
  temporal = await startTimeSkipping({
    seats: surround(activities.seats, withFault),
    payments: surround(activities.payments, withFault),
    notifications: surround(activities.notifications, withFault),
  });
});
afterAll(async () => {
  await temporal.stop();
  await stores.close();
});
afterEach(() => {
  fault = undefined;
  isCaptureRefused = false;
});

const payWith = (token: string) => (workflow: WorkflowHandle) =>
  workflow.executeUpdate(pay, { args: [{ payment_token: token }] });

/** The gateway's webhook tells of a charge that was not asked for by us. */
const payElsewhere = (amount: number) => async (workflow: WorkflowHandle) => {
  const { workflowId: reservation_id } = workflow;
  const price = { amount, currency: 'EUR' };
  const request = { idempotency_key: `webhook ${reservation_id}`, reservation_id, price, payment_token: 'tok_visa' };
  const charge = await gateway.authorise(request);
  if (charge.status === 'AUTHORIZED') await workflow.signal(payment, { charge_id: charge.charge_id });
};

const stories = {
  paid: { act: payWith('tok_visa'), ending: 'CONFIRMED' },
  'paid elsewhere': { act: payElsewhere(17_000), ending: 'CONFIRMED' },
  'paid too little elsewhere': { act: payElsewhere(1), ending: 'EXPIRED' },
  declined: { act: payWith('tok_declined'), ending: 'EXPIRED' },
  'refused at the capture': {
    act: (workflow: WorkflowHandle) => {
      isCaptureRefused = true;
      return payWith('tok_visa')(workflow);
    },
    ending: 'EXPIRED',
  },
  released: { act: (workflow: WorkflowHandle) => workflow.executeUpdate(release), ending: 'RELEASED' },
  expired: { act: async () => undefined, ending: 'EXPIRED' },
};

let pairs = 0;
const nextPair = () => {
  const [row, seat] = [Math.floor(pairs / 15) + 1, (pairs++ % 15) * 2 + 1];
  return [`demo-theatre-stalls-${row}-${seat}`, `demo-theatre-stalls-${row}-${seat + 1}`];
};

/** Drives one reservation to its end, and answers how it ended. */
async function live(act: (workflow: WorkflowHandle) => Promise<unknown>): Promise<string> {
  const input = { event_id: 'demo-theatre', user_id: 'ann', seat_ids: nextPair(), hold_seconds: 600 };
  const { reserved, workflow } = temporal.reserve({ ...input, answer_within_ms: 60_000 });
  if ((await reserved).status === 'HELD') await act(workflow);
  return workflow.result();
}

async function expectCleanSlate() {
  expect(await findFaults(stores)).toEqual(NO_FAULTS);
  const { rows } = await stores.database.query(
    `SELECT reservation_id, 'held' AS still FROM reservations WHERE status = 'HELD'
     UNION ALL SELECT booking_id, 'pending' FROM bookings WHERE status = 'PENDING'`,
  );
  expect(rows).toEqual([]);
  expect(await stores.redis.keys('seat_lock:*')).toEqual([]);
}

const steps: [story: keyof typeof stories, activity: string][] = [
  ['paid', 'holdSeats'],
  ['paid', 'openBooking'],
  ['paid', 'authorisePayment'],
  ['paid', 'bookSeats'],
  ['paid', 'capturePayment'],
  ['paid', 'confirmBooking'],
  ['paid', 'sendConfirmation'],
  ['paid elsewhere', 'verifyCharge'],
  ['paid too little elsewhere', 'giveBackPayment'],
  ['declined', 'cancelPayment'],
  ['declined', 'failBooking'],
  ['refused at the capture', 'unbookSeats'],
  ['released', 'releaseSeats'],
  ['expired', 'releaseSeats'],
];
const bothWays = <Row extends unknown[]>(rows: Row[]) =>
  rows.flatMap((row) => [[...row, 'before'] as const, [...row, 'after'] as const]);

test.each(bothWays(steps))('a reservation that is %s survives %s failing once, %s it takes effect', async (...row) => {
  const [story, activity, when] = row;
  const { act, ending } = stories[story];
  fault = { activity, when, error: new Error('the reply was lost'), left: 1, struck: false };
  expect(await live(act)).toBe(ending);
  expect(fault.struck).toBe(true);
  await expectCleanSlate();
});

const givenUp: [story: keyof typeof stories, activity: string, when: When, ending: string][] = [
  ['paid', 'holdSeats', 'before', 'REFUSED'],
  ['paid', 'holdSeats', 'after', 'CONFIRMED'], // its client may have been told of the hold before a crash
  ['paid', 'authorisePayment', 'before', 'EXPIRED'],
  ['paid', 'authorisePayment', 'after', 'EXPIRED'],
  ['paid elsewhere', 'verifyCharge', 'before', 'EXPIRED'],
  ['paid elsewhere', 'verifyCharge', 'after', 'EXPIRED'],
  ['paid', 'sendConfirmation', 'before', 'CONFIRMED'],
  ['paid', 'sendConfirmation', 'after', 'CONFIRMED'],
];

test.each(givenUp)(
  'a reservation to be %s, whose %s fails for good %s it takes effect, ends %s',
  async (story, activity, when, ending) => {
    fault = { activity, when, error: ApplicationFailure.nonRetryable('gone'), left: Infinity, struck: false };
    expect(await live(stories[story].act)).toBe(ending);
    expect(fault.struck).toBe(true);
    await expectCleanSlate();
  },
);

describe('directly on the stores', () => {
  let reservations = 0;
  const request = () => {
    const reservation_id = `res_direct_${++reservations}`;
    const seats = { reservation_id, event_id: 'demo-theatre', seat_ids: nextPair() };
    const price = { amount: 17_000, currency: 'EUR' };
    return {
      seats,
      hold: { ...seats, user_id: 'ann', hold_seconds: 600, rescue: false },
      booking: { ...seats, booking_id: `bkg_direct_${reservations}` },
      charge: { idempotency_key: `bkg_direct_${reservations}`, reservation_id, price },
    };
  };

  async function grant(hold: ReturnType<typeof request>['hold']) {
    const result = await activities.seats.holdSeats(hold);
    if (!('hold' in result)) throw new Error(`refused: ${JSON.stringify(result)}`);
    return result.hold;
  }

  /** All that PostgreSQL and Redis know of it. */
  async function stateOf({ seats }: ReturnType<typeof request>) {
    const rows = async (sql: string, key: unknown) => (await stores.database.query(sql, [key])).rows;
    return {
      seats: await rows('SELECT * FROM seats WHERE seat_id = ANY($1) ORDER BY seat_id', seats.seat_ids),
      reservation: await rows('SELECT * FROM reservations WHERE reservation_id = $1', seats.reservation_id),
      bookings: await rows('SELECT * FROM bookings WHERE reservation_id = $1', seats.reservation_id),
      charges: await rows('SELECT * FROM sandbox_gateway.charges WHERE reservation_id = $1', seats.reservation_id),
      locks: await stores.redis.mget(seats.seat_ids.map((seat) => `seat_lock:{demo-theatre}:${seat}`)),
    };
  }

  /** Takes a step twice: the first time it does something, the second time nothing, with the same answer. */
  async function twice(of: ReturnType<typeof request>, name: string, step: () => Promise<unknown>) {
    const before = await stateOf(of);
    const answer = await step();
    const after = await stateOf(of);
    expect(after, name).not.toEqual(before);
    expect(await step(), `${name} again`).toEqual(answer);
    expect(await stateOf(of), `${name} again`).toEqual(after);
  }

  test('every step may be repeated: it changes nothing and answers the same', async () => {
    const { seats, payments } = activities;
    const it = request();
    await twice(it, 'holdSeats', async () => ({ ...(await grant(it.hold)), hold_ms: undefined }));
    expect(await seats.resolveHold(it.hold)).toMatchObject({ hold: { fence: (await grant(it.hold)).fence } });
    const mine = { ...it.seats, fence: (await grant(it.hold)).fence };
    await twice(it, 'openBooking', () => seats.openBooking(it.booking));
    let chargeId = '';
    await twice(it, 'authorisePayment', async () => {
      const charge = await payments.authorisePayment({ ...it.charge, payment_token: 'tok_visa' });
      if (charge.status === 'AUTHORIZED') chargeId = charge.charge_id;
      return charge;
    });
    const verify = { charge_id: chargeId, reservation_id: it.seats.reservation_id, price: it.charge.price };
    expect(await payments.verifyCharge(verify)).toEqual({ status: 'AUTHORIZED', charge_id: chargeId });
    await twice(it, 'bookSeats', () => seats.bookSeats(mine));
    await twice(it, 'capturePayment', () => payments.capturePayment({ charge_id: chargeId }));
    await twice(it, 'confirmBooking', () => seats.confirmBooking({ ...it.booking, charge_id: chargeId }));
    await twice(it, 'unlockSeats', () => seats.unlockSeats({ ...it.seats, sold: true }));
    await expectCleanSlate();
  });

  test('every undo may be repeated: it changes nothing and answers the same', async () => {
    const { seats, payments } = activities;
    const it = request();
    const mine = { ...it.seats, fence: (await grant(it.hold)).fence };
    await seats.openBooking(it.booking);
    await payments.authorisePayment({ ...it.charge, payment_token: 'tok_visa' });
    const elsewhere = { ...it.charge, idempotency_key: `webhook ${it.booking.booking_id}`, payment_token: 'tok_visa' };
    const other = await payments.authorisePayment(elsewhere);
    const charge_id = other.status === 'AUTHORIZED' ? other.charge_id : '';
    await seats.bookSeats(mine);
    await twice(it, 'unbookSeats', () => seats.unbookSeats(mine));
    const fence = await seats.unbookSeats(mine);
    await twice(it, 'cancelPayment', () => payments.cancelPayment(it.charge));
    await twice(it, 'giveBackPayment', () => payments.giveBackPayment({ ...it.seats, charge_id }));
    const failure = { code: 'PAYMENT_DECLINED', detail: 'The card was declined.' };
    await twice(it, 'failBooking', () => seats.failBooking({ ...it.booking, failure }));
    await twice(it, 'releaseSeats', () => seats.releaseSeats({ ...it.hold, fence, ending: 'RELEASED' }));
    const locks = it.seats.seat_ids.map((seat) => `seat_lock:{demo-theatre}:${seat}`);
    await stores.redis.mset(locks.flatMap((lock) => [lock, it.seats.reservation_id])); // Redis was away meanwhile
    await twice(it, 'unlockSeats', () => seats.unlockSeats({ ...it.seats, sold: false }));
    await expectCleanSlate();
  });

  test('a hold that comes after it was asked for holds and locks nothing', async () => {
    const { seats } = activities;
    const it = request();
    await twice(it, 'resolveHold', () => seats.resolveHold(it.hold));
    expect(await seats.holdSeats(it.hold)).not.toHaveProperty('hold');
    await expectCleanSlate();
  });

  test('a hold that comes after its own undo holds and locks nothing', async () => {
    const { seats } = activities;
    const { hold } = request();
    await seats.releaseSeats({ ...hold, fence: undefined, ending: 'REFUSED' });
    expect(await seats.holdSeats(hold)).not.toHaveProperty('hold');
    await expectCleanSlate();
  });

  test('a charge that comes after its own cancel is not made', async () => {
    const { payments } = activities;
    const { charge } = request();
    await payments.cancelPayment(charge);
    expect(await payments.authorisePayment({ ...charge, payment_token: 'tok_visa' })).toMatchObject({
      status: 'DECLINED',
    });
    await expectCleanSlate();
  });

  test('what comes late from a hold that was taken anew changes nothing', async () => {
    const { seats } = activities;
    const it = request();
    const stale = (await grant(it.hold)).fence;
    await seats.releaseSeats({ ...it.hold, fence: stale, ending: 'EXPIRED' });
    const { fence } = await grant({ ...it.hold, rescue: true });
    const { seats: rescued, reservation } = await stateOf(it);
    await seats.releaseSeats({ ...it.hold, fence: stale, ending: 'EXPIRED' });
    expect(await seats.bookSeats({ ...it.seats, fence: stale })).toBe(false);
    expect(await stateOf(it)).toMatchObject({ seats: rescued, reservation });
    await seats.releaseSeats({ ...it.hold, fence, ending: 'EXPIRED' });
    await seats.unlockSeats({ ...it.seats, sold: false });
    await expectCleanSlate();
  });

  test('the database itself refuses a takeover, also by a statement without a guard', async () => {
    const { seats } = activities;
    const it = request();
    const { fence } = await grant(it.hold);
    const takeOver = `UPDATE seats SET reservation_id = 'res_thief' WHERE seat_id = ANY($1)`;
    await expect(stores.database.query(takeOver, [it.seats.seat_ids])).rejects.toMatchObject({
      constraint: 'seats_one_owner',
    });
    await seats.releaseSeats({ ...it.hold, fence, ending: 'RELEASED' });
    await seats.unlockSeats({ ...it.seats, sold: false });
    await expectCleanSlate();
  });
});
