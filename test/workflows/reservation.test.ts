/** What becomes of a reservation, on a clock that skips ahead and without side effects. */
import { WorkflowUpdateStage, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { claim, pay, payment, release } from '../../workflows/messages.ts';
import { CHARGE, HOLD_MS } from '../support/fake-activities.ts';
import { REQUEST, declined, order, refusal, soon, sorted, startReservations, visa } from '../support/reservations.ts';

const { seats, payments, notifications, temporal, hold, payLater, holdUpUndo, endAll } = await startReservations();
afterEach(endAll);
afterAll(temporal.stop);

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
    const { reserved, workflow } = temporal.reserve(REQUEST);
    await soon(() => workflow.cancel());
    grantNow();
    expect(['HELD', 'FAILED']).toContain((await reserved).status); // whichever the workflow heard of first
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
    const { reserved, workflow } = temporal.reserve(REQUEST);
    expect(await reserved).toEqual({ status: 'REFUSED', conflicts: ['A2'] });
    expect(await workflow.result()).toBe('REFUSED');
    expect(seats.releaseSeats).toHaveBeenCalledWith(expect.objectContaining({ ending: 'REFUSED' }));
  });

  test('that are free again by now are no reason to choose others', async () => {
    seats.holdSeats.mockResolvedValueOnce({ conflicts: [] });
    const { reserved, workflow } = temporal.reserve(REQUEST);
    expect(await reserved).toEqual({ status: 'FAILED' });
    expect(await workflow.result()).toBe('REFUSED');
  });

  test('are not held while PostgreSQL is away', async () => {
    seats.holdSeats.mockRejectedValue(new Error('PostgreSQL is away'));
    const { reserved, workflow } = temporal.reserve(REQUEST);
    expect(await reserved).toEqual({ status: 'FAILED' });
    expect(await workflow.result()).toBe('REFUSED');
    expect(seats.releaseSeats).toHaveBeenCalledWith(expect.objectContaining({ ending: 'REFUSED' }));
  });
});

describe('a hold granted after its client gave up', () => {
  const PATIENCE = { answer_within_ms: 2_000 };

  async function holdLate(message = 'PostgreSQL is away') {
    seats.holdSeats.mockRejectedValueOnce(ApplicationFailure.create({ message, nextRetryDelay: '2 minutes' }));
    const input = { ...REQUEST, ...PATIENCE };
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

  test('is not told as had to who asks again once it is being released', async () => {
    const workflow = await holdLate();
    const away = ApplicationFailure.create({ message: 'PostgreSQL is away', nextRetryDelay: '2 minutes' });
    seats.releaseSeats.mockRejectedValueOnce(away);
    await temporal.env.sleep('6 seconds');
    await soon(() => expect(seats.releaseSeats).toHaveBeenCalledOnce());
    expect(await workflow.executeUpdate(claim, { args: [PATIENCE] })).toEqual({ status: 'FAILED' });
    expect(await workflow.result()).toBe('RELEASED');
  });

  test('stays when the client asks again within the grace', async () => {
    const workflow = await holdLate();
    expect(await workflow.executeUpdate(claim, { args: [PATIENCE] })).toMatchObject({ status: 'HELD' });
    expect(await workflow.result()).toBe('EXPIRED');
  });

  test('was not given up when it was granted in time, and only heard of late', async () => {
    const granted = await seats.holdSeats({ ...REQUEST, reservation_id: 'res_1', rescue: false });
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
