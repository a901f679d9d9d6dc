/** What becomes of a payment, on a clock that skips ahead and without side effects. */
import { WorkflowUpdateStage, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { GatewayUnavailable } from '../../activities/payments.ts';
import { pay, payment, release, stage } from '../../workflows/messages.ts';
import { HOLD_MS } from '../support/fake-activities.ts';
import { REQUEST, declined, order, refusal, soon, sorted, startReservations, visa } from '../support/reservations.ts';

const { seats, payments, notifications, temporal, hold, payLater, holdUpUndo, runOut, endAll } =
  await startReservations();
afterEach(endAll);
afterAll(temporal.stop);

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
    const { workflow } = temporal.reserve(REQUEST);
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
