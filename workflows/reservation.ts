/*
 *   lock and hold seats ──► wait ──payment──► authorise ──► book ──► capture ──► CONFIRMED ──► mail
 *            │               │ ▲                  │           │
 *          taken             │ └──── declined ────┴── refused ┘
 *            ▼               │
 *         REFUSED            ├── release ───► undo ──► RELEASED
 *                            └── deadline ──► undo ──► EXPIRED     (late payment: rescue or refund)
 */
import {
  ActivityFailure,
  CancellationScope,
  TemporalFailure,
  allHandlersFinished,
  condition,
  log,
  patched,
  setCurrentDetails,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Hold, HoldResult } from '../activities/seat-holds.ts';
import type { Ending, SeatsOfReservation } from '../domain/model.ts';
import { Inbox, type Payment } from './inbox.ts';
import { searchAttributes, toReserved, type ReservationInput, type Reserved, type Stage } from './messages.ts';
import { settlePayment } from './payment.ts';
import { giveBackPayment, sendConfirmation, steps, surely, unlockSeats } from './steps.ts';
import { UndoStack } from './undo.ts';

/** How long a hold waits for a retry of the client that gave up on it. */
const CLAIM_GRACE_MS = 5_000;

/** One reservation, from its first lock to its one ending. Nothing interrupts it: cancelling asks for a release. */
export async function reservation(input: ReservationInput): Promise<Ending> {
  const seats = { reservation_id: workflowInfo().workflowId, event_id: input.event_id, seat_ids: input.seat_ids };
  const saga: Saga = { input, seats, inbox: new Inbox(input.answer_within_ms), undo: new UndoStack(), isMailed: false };
  const { inbox, undo } = saga;

  return CancellationScope.nonCancellable(async () => {
    inbox.reserved = await reserve(saga, { rescue: false });
    if (inbox.reserved.status === 'HELD') {
      enter(saga, 'HELD');
      const { hold } = inbox.reserved;
      const deadline = startDeadline(hold);
      if (await isAbandoned(saga, hold, deadline)) inbox.releaseAsked = true;
      while (inbox.ending === undefined) {
        await condition(() => inbox.payments.length > 0 || inbox.releaseAsked || deadline.passed);
        const [payment] = inbox.payments;
        if (payment && (await settle(saga, payment))) continue;
        inbox.ending = inbox.releaseAsked ? 'RELEASED' : 'EXPIRED';
      }
    } else {
      inbox.ending = 'REFUSED';
    }

    if (inbox.ending !== 'CONFIRMED') await undo.run();
    enter(saga, inbox.ending);
    do {
      await answerLatePayments(saga);
      await unlockSeats({ ...seats, sold: inbox.confirmed !== undefined });
      await sendMail(saga);
    } while (inbox.payments.length > 0); // came while Redis or the mail server was away
    await condition(allHandlersFinished);
    return inbox.ending;
  });
}

interface Saga {
  readonly input: ReservationInput;
  readonly seats: SeatsOfReservation;
  readonly inbox: Inbox;
  readonly undo: UndoStack;
  hold?: Hold;
  isMailed: boolean;
}

/** Locks the seats in Redis and holds them in PostgreSQL: all, or none. */
async function reserve(saga: Saga, { rescue }: { rescue: boolean }): Promise<Reserved> {
  const { seats, undo, inbox } = saga;
  const { user_id } = saga.input;
  undo.push(async () => {
    const ending = inbox.ending === 'RELEASED' || inbox.ending === 'EXPIRED' ? inbox.ending : 'REFUSED';
    inbox.ending = await surely.releaseSeats({ ...seats, user_id, fence: saga.hold?.fence, ending });
  });
  delete saga.hold; // its fence would keep the undo from a rescue whose outcome is not known
  const reserved = toReserved(await holdSeats(saga, { rescue }));
  if (reserved.status === 'HELD') saga.hold = reserved.hold;
  return reserved;
}

/**
 * The step may fail when it is made anew after a crash, where it succeeded before and the client was told so: what
 * became of it is asked until PostgreSQL says. Of a rescue nobody was told.
 */
async function holdSeats({ input, seats }: Saga, { rescue }: { rescue: boolean }): Promise<HoldResult> {
  const { user_id, hold_seconds } = input;
  try {
    return await steps.holdSeats({ ...seats, user_id, hold_seconds, rescue });
  } catch (error) {
    if (!(error instanceof TemporalFailure)) throw error; // a local activity's comes unwrapped
    if (rescue || !patched('what became of a hold is asked')) return { conflicts: [] };
    return surely.resolveHold({ ...seats, user_id });
  }
}

/** Counted from what PostgreSQL said is left, so no two clocks need to agree; a declined payment does not reset it. */
function startDeadline({ hold_ms }: Hold): { passed: boolean } {
  const deadline = { passed: false };
  void sleep(hold_ms, { summary: 'the hold expires' }).then(() => (deadline.passed = true));
  return deadline;
}

/**
 * Whether the client had given up on this hold before it was granted, and did not ask again. When it was granted follows
 * from how much of it is left: after a crash the workflow hears of its hold long after the client was answered.
 */
async function isAbandoned({ input, inbox }: Saga, hold: Hold, deadline: { passed: boolean }): Promise<boolean> {
  const grantedAtMs = Date.now() - (input.hold_seconds * 1_000 - hold.hold_ms);
  const isAwaited = () =>
    inbox.payments.length > 0 || inbox.releaseAsked || deadline.passed || grantedAtMs <= inbox.awaitedUntilMs;
  return !isAwaited() && !(await condition(isAwaited, CLAIM_GRACE_MS));
}

/** Answers the payment; false where the hold has run out, which PostgreSQL may know before the timer fires. */
async function settle(saga: Saga, payment: Payment): Promise<boolean> {
  const { seats, inbox, hold } = saga;
  if (!hold) throw new TypeError('a payment is settled only for a hold');
  enter(saga, 'PAYING');
  const outcome = await settlePayment({
    seats,
    hold,
    attempt: ++inbox.paymentsTried,
    message: payment.message,
  });
  if (outcome.status === 'TOO_LATE') return false;
  if (outcome.status === 'CONFIRMED') {
    inbox.confirmed = outcome;
    inbox.ending = 'CONFIRMED';
  }
  enter(saga, inbox.ending ?? 'HELD');
  payment.outcome = outcome;
  inbox.payments.shift();
  return true;
}

async function answerLatePayments(saga: Saga): Promise<void> {
  for (let payment = saga.inbox.payments[0]; payment; payment = saga.inbox.payments[0]) {
    await answerLatePayment(saga, payment);
  }
}

/** A payment for a reservation that has ended: its seats, where they are still free, else the money back. */
async function answerLatePayment(saga: Saga, payment: Payment): Promise<void> {
  const { seats, inbox, undo } = saga;
  const isRescued =
    inbox.ending === 'EXPIRED' &&
    (await reserve(saga, { rescue: true })).status === 'HELD' &&
    (await settle(saga, payment));
  if (!isRescued) {
    const { message } = payment;
    if ('charge_id' in message && message.charge_id !== inbox.confirmed?.charge_id) {
      await giveBackPayment({ charge_id: message.charge_id, reservation_id: seats.reservation_id });
    }
    payment.outcome = { status: 'TOO_LATE' };
    inbox.payments.shift();
  }
  if (inbox.ending !== 'CONFIRMED') await undo.run();
}

async function sendMail(saga: Saga): Promise<void> {
  const { input, seats, inbox, hold } = saga;
  if (!inbox.confirmed || !hold || saga.isMailed) return;
  saga.isMailed = true;
  const { booking_id } = inbox.confirmed;
  const price = { amount: hold.price, currency: hold.currency };
  try {
    await sendConfirmation({ ...seats, booking_id, user_id: input.user_id, price });
  } catch (error) {
    if (!(error instanceof ActivityFailure)) throw error;
    log.error('the confirmation mail could not be sent', { booking_id, error });
  }
}

/** Shows the state in the Temporal UI; only an ending costs a write, since a reservation is started as HELD. */
function enter({ input, inbox, hold }: Saga, stage: Stage): void {
  inbox.stage = stage;
  setCurrentDetails(
    [
      `**${stage}**: ${input.seat_ids.length} seat(s) of ${input.event_id} for ${input.user_id}`,
      `Seats: ${input.seat_ids.join(', ')}`,
      ...(hold ? [`Expires at ${hold.expires_at}`] : []),
      ...(inbox.confirmed ? [`Booking ${inbox.confirmed.booking_id}, charge ${inbox.confirmed.charge_id}`] : []),
    ].join('\n\n'),
  );
  if (stage === inbox.ending) upsertSearchAttributes([{ key: searchAttributes.ReservationStatus, value: stage }]);
}
