/** What becomes of a reservation, on a clock that skips ahead and without side effects. */
import { WorkflowUpdateFailedError, WorkflowUpdateStage, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { GatewayUnavailable } from '../../activities/payments.ts';
import { claim, pay, payment, release, stage } from '../../workflows/messages.ts';
import { CHARGE, HOLD_MS, createFakeActivities } from '../support/fake-activities.ts';
import { startTimeSkipping } from '../support/time-skipping.ts';

const { seats, payments, notifications } = createFakeActivities();
/** On a machine that stands still a second is not enough. */
const soon = (look: () => unknown) => vi.waitFor(look, { timeout: 20_000 });

let temporal: Awaited<ReturnType<typeof startTimeSkipping>>;
beforeAll(async () => {
  temporal = await startTimeSkipping({ seats, payments, notifications });
});
afterAll(() => temporal.stop());
afterEach(async () => {
  vi.resetAllMocks();
  await temporal.endAll();
  vi.clearAllMocks();
});

const request = {
  event_id: 'tempest',
  user_id: 'ann',
  seat_ids: ['A1', 'A2'],
  hold_seconds: 600,
  answer_within_ms: 60_000,
};
const tokens = (payment_token: string): [{ payment_token: string }] => [{ payment_token }];
const visa = { args: tokens('tok_visa') };
const declined = { args: tokens('tok_declined') };

async function hold(input = request): Promise<WorkflowHandle> {
  const { reserved, workflow } = temporal.reserve(input);
  expect(await reserved).toMatchObject({ status: 'HELD' });
  return workflow;
}

/** Starts a payment that the gateway answers when `answer` is called. */
async function payLater(workflow: WorkflowHandle) {
  let answer = () => {};
  const answered = new Promise<void>((resolve) => (answer = resolve));
  payments.authorisePayment.mockImplementationOnce(async () => {
    await answered;
    return { status: 'AUTHORIZED', charge_id: CHARGE };
  });
  const update = await workflow.startUpdate(pay, { ...visa, waitForStage: WorkflowUpdateStage.ACCEPTED });
  await soon(() => expect(payments.authorisePayment).toHaveBeenCalled());
  return { update, answer };
}

/** Makes the undo's first try fail, so that a message can arrive while it is under way. */
function holdUpUndo() {
  seats.releaseSeats.mockRejectedValueOnce(
    ApplicationFailure.create({ message: 'PostgreSQL is away', nextRetryDelay: '2 minutes' }),
  );
}

/** Lets the hold run out, and stops while its undo waits for another try. */
async function runOut(workflow: WorkflowHandle) {
  holdUpUndo();
  await temporal.env.sleep(HOLD_MS + 1_000);
  await soon(() => expect(seats.releaseSeats).toHaveBeenCalledOnce());
  expect(await workflow.query(stage)).toBe('HELD');
}

const refusal = (update: Promise<unknown>) =>
  update.then(
    () => 'accepted',
    (error: unknown) =>
      error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure
        ? error.cause.type
        : error,
  );

/** The order in which the fakes were first called. */
const order = (...fakes: { mock: { invocationCallOrder: number[] } }[]) =>
  fakes.map(({ mock }) => mock.invocationCallOrder[0]);
const sorted = (calls: (number | undefined)[]) => calls.toSorted((a = 0, b = 0) => a - b);

describe('a reservation that is paid for', () => {
  test('is confirmed, and the buyer told', async () => {
    const workflow = await hold();
    const outcome = await workflow.executeUpdate(pay, visa);
    expect(outcome).toMatchObject({ status: 'CONFIRMED', charge_id: CHARGE });
    expect(await workflow.result()).toBe('CONFIRMED');
    expect(notifications.sendConfirmation).toHaveBeenCalledOnce();
    expect(seats.releaseSeats).not.toHaveBeenCalled();
  });

  test('is charged only once its seats are booked', async () => {
    const workflow = await hold();
    await workflow.executeUpdate(pay, visa);
    const calls = order(seats.openBooking, payments.authorisePayment, seats.bookSeats, payments.capturePayment);
    expect(calls).toEqual(sorted(calls));
  });

  test('is confirmed by a charge that was made elsewhere', async () => {
    const workflow = await hold();
    await workflow.signal(payment, { charge_id: 'ch_webhook' });
    expect(await workflow.result()).toBe('CONFIRMED');
    expect(payments.capturePayment).toHaveBeenCalledWith(expect.objectContaining({ charge_id: 'ch_webhook' }));
    expect(payments.authorisePayment).not.toHaveBeenCalled();
  });

  test('hears of a charge once, also of one that was no good', async () => {
    payments.verifyCharge.mockResolvedValueOnce({ status: 'DECLINED', detail: 'No such charge.' });
    const workflow = await hold();
    for (let time = 0; time < 20; time++) await workflow.signal(payment, { charge_id: 'ch_again' });
    await workflow.signal(payment, { charge_id: 'ch_other' });
    for (let time = 0; time < 20; time++) await workflow.signal(payment, { charge_id: 'ch_other' });
    expect(await workflow.result()).toBe('CONFIRMED');
    expect(payments.verifyCharge).toHaveBeenCalledTimes(2);
    expect(seats.openBooking).toHaveBeenCalledTimes(2);
    expect(payments.giveBackPayment).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ charge_id: 'ch_again' }),
    );
  });

  test('is charged once however often the same payment is sent', async () => {
    const workflow = await hold();
    const { update, answer } = await payLater(workflow);
    const repeat = workflow.executeUpdate(pay, { ...visa, updateId: update.updateId });
    answer();
    expect(await repeat).toEqual(await update.result());
    expect(payments.authorisePayment).toHaveBeenCalledOnce();
  });

  test('stays confirmed when its mail fails for an hour', async () => {
    notifications.sendConfirmation.mockRejectedValue(new Error('the mail server is away'));
    const workflow = await hold();
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
    expect(await workflow.result()).toBe('CONFIRMED');
  });

  test('gives a second charge back, also one that comes while the mail is under way', async () => {
    notifications.sendConfirmation.mockRejectedValueOnce(
      ApplicationFailure.create({ message: 'the mail server is away', nextRetryDelay: '10 minutes' }),
    );
    const workflow = await hold();
    await workflow.executeUpdate(pay, visa);
    await soon(() => expect(notifications.sendConfirmation).toHaveBeenCalled());
    await workflow.signal(payment, { charge_id: 'ch_second' });
    await workflow.signal(payment, { charge_id: CHARGE });
    expect(await workflow.result()).toBe('CONFIRMED');
    expect(payments.giveBackPayment).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ charge_id: 'ch_second' }),
    );
  });

  test('cannot be released any more', async () => {
    notifications.sendConfirmation.mockRejectedValueOnce(
      ApplicationFailure.create({ message: 'the mail server is away', nextRetryDelay: '10 minutes' }),
    );
    const workflow = await hold();
    await workflow.executeUpdate(pay, visa);
    expect(await refusal(workflow.executeUpdate(release))).toBe('ALREADY_CONFIRMED');
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('ALREADY_CONFIRMED');
  });

  test('is said to be confirmed, also where an operator cancels while it is paid for', async () => {
    notifications.sendConfirmation.mockRejectedValueOnce(
      ApplicationFailure.create({ message: 'the mail server is away', nextRetryDelay: '10 minutes' }),
    );
    const workflow = await hold();
    const { update, answer } = await payLater(workflow);
    await workflow.cancel();
    answer();
    expect(await update.result()).toMatchObject({ status: 'CONFIRMED' });
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('ALREADY_CONFIRMED');
  });
});

describe('a reservation that nobody pays for', () => {
  test.each([
    ['when nothing happens', async () => undefined],
    [
      'when a payment was declined meanwhile',
      async (workflow: WorkflowHandle) => {
        await temporal.env.sleep(HOLD_MS / 2);
        expect(await workflow.executeUpdate(pay, declined)).toMatchObject({ failure: { code: 'PAYMENT_DECLINED' } });
      },
    ],
  ])('expires exactly at its deadline %s', async (_title, meanwhile) => {
    let heldAt = 0;
    let freedAt = 0;
    const grant = seats.holdSeats.getMockImplementation();
    seats.holdSeats.mockImplementationOnce(async (input) => {
      heldAt = await temporal.env.currentTimeMs();
      return grant ? grant(input) : { conflicts: [] };
    });
    seats.releaseSeats.mockImplementationOnce(async ({ ending }) => {
      freedAt = await temporal.env.currentTimeMs();
      return ending;
    });
    const workflow = await hold();
    await meanwhile(workflow);
    expect(await workflow.result()).toBe('EXPIRED');
    expect(freedAt - heldAt).toBeGreaterThanOrEqual(HOLD_MS);
    expect(freedAt - heldAt).toBeLessThan(HOLD_MS + 1_000);
  });

  test('is released when its buyer gives it up', async () => {
    const workflow = await hold();
    expect(await workflow.executeUpdate(release)).toBe('RELEASED');
    expect(await workflow.result()).toBe('RELEASED');
    expect(seats.releaseSeats).toHaveBeenCalledWith(expect.objectContaining({ ending: 'RELEASED' }));
  });

  test('is released when an operator cancels it', async () => {
    const workflow = await hold();
    await workflow.cancel();
    expect(await workflow.result()).toBe('RELEASED');
    expect(seats.releaseSeats).toHaveBeenCalledOnce();
  });

  test('is released when an operator cancels it before it is held', async () => {
    let grantNow = () => {};
    const granted = new Promise<void>((resolve) => (grantNow = resolve));
    const grant = seats.holdSeats.getMockImplementation();
    seats.holdSeats.mockImplementationOnce(async (input) => {
      await granted;
      return grant ? grant(input) : { conflicts: [] };
    });
    const { reserved, workflow } = temporal.reserve(request);
    await soon(() => workflow.cancel());
    grantNow();
    expect(await reserved).toMatchObject({ status: 'HELD' });
    expect(await workflow.result()).toBe('RELEASED');
  });

  test('expires when PostgreSQL says so, whatever it was asked for', async () => {
    const grant = seats.holdSeats.getMockImplementation();
    seats.holdSeats.mockImplementationOnce(async (input) => {
      const result = grant ? await grant(input) : { conflicts: [] };
      return 'hold' in result ? { hold: { ...result.hold, hold_ms: HOLD_MS / 2 } } : result; // a retry found the hold
    });
    const workflow = await hold();
    await temporal.env.sleep(HOLD_MS / 2 + 1_000);
    await soon(() => expect(seats.releaseSeats).toHaveBeenCalledOnce());
    expect(await workflow.result()).toBe('EXPIRED');
  });

  test('takes no payment once it is being released', async () => {
    holdUpUndo();
    const workflow = await hold();
    const released = await workflow.startUpdate(release, { waitForStage: WorkflowUpdateStage.ACCEPTED });
    await soon(() => expect(seats.releaseSeats).toHaveBeenCalled());
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('RESERVATION_RELEASED');
    expect(await workflow.result()).toBe('RELEASED');
    expect(await released.result()).toBe('RELEASED');
    expect(payments.authorisePayment).not.toHaveBeenCalled();
  });
});

describe('seats that cannot be had', () => {
  test('are refused by name, and whatever was locked is undone', async () => {
    seats.holdSeats.mockResolvedValueOnce({ conflicts: ['A2'] });
    const { reserved, workflow } = temporal.reserve(request);
    expect(await reserved).toEqual({ status: 'REFUSED', conflicts: ['A2'] });
    expect(await workflow.result()).toBe('REFUSED');
    expect(seats.releaseSeats).toHaveBeenCalledWith(expect.objectContaining({ ending: 'REFUSED' }));
  });

  test('that are free again by now are no reason to choose others', async () => {
    seats.holdSeats.mockResolvedValueOnce({ conflicts: [] });
    const { reserved, workflow } = temporal.reserve(request);
    expect(await reserved).toEqual({ status: 'FAILED' });
    expect(await workflow.result()).toBe('REFUSED');
  });

  test('are not held while PostgreSQL is away', async () => {
    seats.holdSeats.mockRejectedValue(new Error('PostgreSQL is away'));
    const { reserved, workflow } = temporal.reserve(request);
    expect(await reserved).toEqual({ status: 'FAILED' });
    expect(await workflow.result()).toBe('REFUSED');
    expect(seats.releaseSeats).toHaveBeenCalledWith(expect.objectContaining({ ending: 'REFUSED' }));
  });
});

describe('a hold granted after its client gave up', () => {
  async function holdLate(message = 'PostgreSQL is away') {
    seats.holdSeats.mockRejectedValueOnce(ApplicationFailure.create({ message, nextRetryDelay: '2 minutes' }));
    const input = { ...request, answer_within_ms: 2_000 };
    const { reserved, workflow } = temporal.reserve(input);
    await soon(() => expect(seats.holdSeats).toHaveBeenCalledOnce());
    await temporal.env.sleep('2 minutes');
    expect(await reserved).toMatchObject({ status: 'HELD' });
    return workflow;
  }

  test('is released after a short grace', async () => {
    const workflow = await holdLate();
    await temporal.env.sleep('6 seconds');
    await soon(() => expect(seats.releaseSeats).toHaveBeenCalledOnce());
    expect(await workflow.result()).toBe('RELEASED');
  });

  test('stays when the client asks again within the grace', async () => {
    const workflow = await holdLate();
    expect(await workflow.executeUpdate(claim)).toMatchObject({ status: 'HELD' });
    expect(await workflow.result()).toBe('EXPIRED');
  });

  test('was not given up when it was granted in time, and only heard of late', async () => {
    const granted = await seats.holdSeats({ ...request, reservation_id: 'res_1', rescue: false });
    if (!('hold' in granted)) throw new TypeError('the fake grants');
    seats.holdSeats.mockClear();
    const left = { ...granted.hold, hold_ms: HOLD_MS - 120_000 };
    const reserved = holdLate('the process that made the hold, and answered its client, was killed');
    await soon(() => expect(seats.holdSeats).toHaveBeenCalledOnce());
    seats.holdSeats.mockResolvedValueOnce({ hold: left });
    const workflow = await reserved;
    expect(await workflow.result()).toBe('EXPIRED');
  });

  test('stays when it is paid for within the grace', async () => {
    const workflow = await holdLate();
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
  });
});

describe('a payment', () => {
  test('may be tried again with another token after one was declined', async () => {
    const workflow = await hold();
    expect(await workflow.executeUpdate(pay, declined)).toMatchObject({
      status: 'FAILED',
      failure: { code: 'PAYMENT_DECLINED' },
    });
    expect(await workflow.query(stage)).toBe('HELD');
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
  });

  /** Starts a payment a minute before the deadline, and lets the gateway answer it a minute after. */
  async function payOverTheDeadline(workflow: WorkflowHandle, token: typeof visa) {
    payments.authorisePayment.mockRejectedValueOnce(
      ApplicationFailure.create({ message: 'the gateway is away', nextRetryDelay: '2 minutes' }),
    );
    await temporal.env.sleep(HOLD_MS - 60_000);
    const update = await workflow.startUpdate(pay, { ...token, waitForStage: WorkflowUpdateStage.ACCEPTED });
    await temporal.env.sleep('2 minutes');
    return update.result();
  }

  test.each([
    ['waits for that', undefined, { status: 'CONFIRMED' }, 'CONFIRMED', 1],
    [
      'is answered when that is refused, and nothing charged',
      { conflicts: ['A2'] },
      { status: 'TOO_LATE' },
      'REFUSED',
      0,
    ],
  ])('for a hold that is made anew %s', async (_what, refused, outcome, ending, charges) => {
    const again = ApplicationFailure.create({ message: 'PostgreSQL is away', nextRetryDelay: '2 minutes' });
    seats.holdSeats.mockRejectedValueOnce(again);
    if (refused) seats.holdSeats.mockResolvedValueOnce(refused);
    const { workflow } = temporal.reserve(request);
    await soon(() => expect(seats.holdSeats).toHaveBeenCalledOnce());
    const paid = await workflow.startUpdate(pay, { ...visa, waitForStage: WorkflowUpdateStage.ACCEPTED });
    await temporal.env.sleep('3 minutes');
    expect(await paid.result()).toMatchObject(outcome);
    expect(await workflow.result()).toBe(ending);
    expect(payments.authorisePayment).toHaveBeenCalledTimes(charges);
  });

  test('accepted before the deadline counts, however long it takes', async () => {
    const workflow = await hold();
    expect(await payOverTheDeadline(workflow, visa)).toMatchObject({ status: 'CONFIRMED' });
    expect(await workflow.result()).toBe('CONFIRMED');
    expect(seats.releaseSeats).not.toHaveBeenCalled();
  });

  test('declined after the deadline lets the hold expire at once', async () => {
    const workflow = await hold();
    expect(await payOverTheDeadline(workflow, declined)).toMatchObject({ status: 'FAILED' });
    await soon(() => expect(seats.releaseSeats).toHaveBeenCalledOnce());
    expect(await workflow.result()).toBe('EXPIRED');
  });

  test('after the deadline is refused, and nothing charged', async () => {
    const workflow = await hold();
    await runOut(workflow);
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('RESERVATION_EXPIRED');
    expect(await workflow.result()).toBe('EXPIRED');
    expect(payments.authorisePayment).not.toHaveBeenCalled();
  });

  test('is refused while another is in progress', async () => {
    const workflow = await hold();
    const { update, answer } = await payLater(workflow);
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('PAYMENT_IN_PROGRESS');
    answer();
    expect(await update.result()).toMatchObject({ status: 'CONFIRMED' });
    expect(payments.authorisePayment).toHaveBeenCalledOnce();
  });

  test('in progress is not undone by a release', async () => {
    const workflow = await hold();
    const { update, answer } = await payLater(workflow);
    expect(await refusal(workflow.executeUpdate(release))).toBe('PAYMENT_IN_PROGRESS');
    answer();
    expect(await update.result()).toMatchObject({ status: 'CONFIRMED' });
  });

  test('in progress is not undone by an operator who cancels', async () => {
    const workflow = await hold();
    const { update, answer } = await payLater(workflow);
    await workflow.cancel();
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('PAYMENT_IN_PROGRESS');
    answer();
    expect(await update.result()).toMatchObject({ status: 'CONFIRMED' });
    expect(await workflow.result()).toBe('CONFIRMED');
  });

  test('is tried ten times and no more', async () => {
    const workflow = await hold();
    for (let tried = 0; tried < 10; tried++) await workflow.executeUpdate(pay, declined);
    expect(await refusal(workflow.executeUpdate(pay, visa))).toBe('TOO_MANY_PAYMENTS');
  });

  test.each([['a payment_token'], [{}], [null], [{ payment_token: 7 }]])('of %j is ignored', async (nonsense) => {
    const workflow = await hold();
    await workflow.signal('payment', nonsense);
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
    expect(payments.authorisePayment).toHaveBeenCalledOnce();
  });

  test.each([['a payment_token'], [{}], [null]])('update of %j is refused', async (nonsense) => {
    const workflow = await hold();
    const malformed = workflow.executeUpdate('pay', { args: [nonsense] });
    expect(await refusal(malformed)).toBe('MALFORMED_PAYMENT');
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
  });
});

describe('a gateway that gives no answer', () => {
  test('is asked to cancel, and the hold stays for another payment', async () => {
    payments.authorisePayment.mockRejectedValue(new GatewayUnavailable('no answer'));
    const workflow = await hold();
    const update = await workflow.startUpdate(pay, { ...visa, waitForStage: WorkflowUpdateStage.ACCEPTED });
    await temporal.env.sleep('6 minutes');
    expect(await update.result()).toMatchObject({ status: 'FAILED', failure: { code: 'PAYMENT_UNAVAILABLE' } });
    expect(payments.cancelPayment).toHaveBeenCalledOnce();
    expect(seats.failBooking).toHaveBeenCalledOnce();
    payments.authorisePayment.mockReset();
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
  });

  test('keeps the seats held past the deadline, until it has cancelled', async () => {
    payments.authorisePayment.mockRejectedValue(new GatewayUnavailable('no answer'));
    const workflow = await hold();
    await temporal.env.sleep(HOLD_MS - 60_000);
    const update = await workflow.startUpdate(pay, { ...visa, waitForStage: WorkflowUpdateStage.ACCEPTED });
    await temporal.env.sleep('2 minutes');
    expect(seats.releaseSeats).not.toHaveBeenCalled();
    expect(await workflow.result()).toBe('EXPIRED');
    expect(await update.result()).toMatchObject({ failure: { code: 'PAYMENT_UNAVAILABLE' } });
    const calls = order(payments.cancelPayment, seats.releaseSeats);
    expect(calls).toEqual(sorted(calls));
  });

  test('at the capture is asked until it answers', async () => {
    payments.capturePayment.mockRejectedValueOnce(new GatewayUnavailable('no answer'));
    const workflow = await hold();
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'CONFIRMED' });
    expect(payments.cancelPayment).not.toHaveBeenCalled();
  });

  test('that refuses the capture has the seats unbooked before the money is let go', async () => {
    payments.capturePayment.mockResolvedValueOnce(false);
    const workflow = await hold();
    expect(await workflow.executeUpdate(pay, visa)).toMatchObject({ status: 'FAILED' });
    const calls = order(seats.bookSeats, seats.unbookSeats, payments.cancelPayment, seats.failBooking);
    expect(calls).toEqual(sorted(calls));
    expect(await workflow.query(stage)).toBe('HELD');
  });
});

describe('a payment that arrives by signal after the deadline', () => {
  test('saves the reservation while its seats are free', async () => {
    const workflow = await hold();
    await runOut(workflow);
    await workflow.signal(payment, { payment_token: 'tok_visa' });
    expect(await workflow.result()).toBe('CONFIRMED');
    expect(seats.holdSeats).toHaveBeenLastCalledWith(expect.objectContaining({ rescue: true }));
    expect(seats.bookSeats).toHaveBeenCalledWith(expect.objectContaining({ fence: '2' }));
    expect(notifications.sendConfirmation).toHaveBeenCalledOnce();
  });

  test('is given back when other buyers have the seats', async () => {
    const workflow = await hold();
    await runOut(workflow);
    seats.holdSeats.mockResolvedValueOnce({ conflicts: ['A1'] });
    await workflow.signal(payment, { charge_id: 'ch_late' });
    expect(await workflow.result()).toBe('EXPIRED');
    expect(payments.giveBackPayment).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ charge_id: 'ch_late' }));
  });

  test('that is declined leaves the reservation expired and the seats free', async () => {
    const workflow = await hold();
    await runOut(workflow);
    await workflow.signal(payment, { payment_token: 'tok_declined' });
    expect(await workflow.result()).toBe('EXPIRED');
    expect(seats.releaseSeats).toHaveBeenLastCalledWith(expect.objectContaining({ fence: '2', ending: 'EXPIRED' }));
  });

  test('frees the seats again when it is not known whether they were taken', async () => {
    const workflow = await hold();
    await runOut(workflow);
    seats.holdSeats.mockRejectedValue(new Error('the reply was lost'));
    await workflow.signal(payment, { charge_id: 'ch_late' });
    expect(await workflow.result()).toBe('EXPIRED');
    expect(seats.releaseSeats).toHaveBeenLastCalledWith(expect.not.objectContaining({ fence: '1' }));
    expect(payments.giveBackPayment).toHaveBeenCalledOnce();
  });

  test('never confirms a reservation that was released', async () => {
    holdUpUndo();
    const workflow = await hold();
    await workflow.startUpdate(release, { waitForStage: WorkflowUpdateStage.ACCEPTED });
    await soon(() => expect(seats.releaseSeats).toHaveBeenCalled());
    await workflow.signal(payment, { charge_id: 'ch_late' });
    expect(await workflow.result()).toBe('RELEASED');
    expect(payments.giveBackPayment).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ charge_id: 'ch_late' }));
    expect(seats.bookSeats).not.toHaveBeenCalled();
  });
});
