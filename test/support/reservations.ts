/** Reservations on a clock that skips ahead and without side effects, and what buyers do with them. */
import { WorkflowUpdateFailedError, WorkflowUpdateStage, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { expect, vi } from 'vitest';
import { pay, stage } from '../../workflows/messages.ts';
import { CHARGE, HOLD_MS, createFakeActivities } from './fake-activities.ts';
import { startTimeSkipping } from './time-skipping.ts';

export const REQUEST = {
  event_id: 'tempest',
  user_id: 'ann',
  seat_ids: ['A1', 'A2'],
  hold_seconds: 600,
  answer_within_ms: 60_000,
};

const tokens = (payment_token: string): [{ payment_token: string }] => [{ payment_token }];
export const visa = { args: tokens('tok_visa') };
export const declined = { args: tokens('tok_declined') };

/** On a machine that stands still a second is not enough. */
export const soon = (look: () => unknown) => vi.waitFor(look, { timeout: 20_000 });

/** Why an update was refused, or that it was accepted. */
export const refusal = (update: Promise<unknown>) =>
  update.then(
    () => 'accepted',
    (error: unknown) =>
      error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure
        ? error.cause.type
        : error,
  );

/** The order in which the fakes were first called. */
export const order = (...fakes: { mock: { invocationCallOrder: number[] } }[]) =>
  fakes.map(({ mock }) => mock.invocationCallOrder[0]);
export const sorted = (calls: (number | undefined)[]) => calls.toSorted((a = 0, b = 0) => a - b);

export async function startReservations() {
  const activities = createFakeActivities();
  const { seats, payments } = activities;
  const temporal = await startTimeSkipping(activities);

  async function hold(input = REQUEST): Promise<WorkflowHandle> {
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

  /** Between two tests. */
  async function endAll() {
    vi.resetAllMocks();
    await temporal.endAll();
    vi.clearAllMocks();
  }

  return { ...activities, temporal, hold, payLater, holdUpUndo, runOut, endAll };
}
