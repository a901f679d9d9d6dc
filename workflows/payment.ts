import { ActivityFailure } from '@temporalio/workflow';
import type { Authorisation } from '../activities/payments.ts';
import type { Hold } from '../activities/seat-holds.ts';
import { bookingId } from '../domain/booking-id.ts';
import type { Failure, SeatsOfReservation } from '../domain/model.ts';
import type { PaymentMessage, PaymentOutcome } from './messages.ts';
import { authorisePayment, cancelPayment, capturePayment, giveBackPayment, surely, verifyCharge } from './steps.ts';
import { UndoStack } from './undo.ts';

export interface PaymentAttempt {
  seats: SeatsOfReservation;
  /** Its fence rises where booked seats go back to it. */
  hold: Hold;
  /** 1 for the first payment tried: each try is a booking of its own. */
  attempt: number;
  message: PaymentMessage;
}

/**
 * Reserve the money, book the seats, take the money, confirm; or take back what was done and say why. Captured last:
 * where the booking is refused there is nothing to refund.
 */
export async function settlePayment({ seats, hold, attempt, message }: PaymentAttempt): Promise<PaymentOutcome> {
  const { reservation_id } = seats;
  const price = { amount: hold.price, currency: hold.currency };
  const booking = { reservation_id, booking_id: bookingId(reservation_id, attempt) };
  const request = { reservation_id, price, idempotency_key: booking.booking_id };
  const undo = new UndoStack();

  async function fail(failure: Failure): Promise<PaymentOutcome> {
    await undo.run();
    await surely.failBooking({ ...booking, failure });
    return { status: 'FAILED', booking_id: booking.booking_id, failure };
  }

  if (!(await surely.openBooking(booking))) return { status: 'TOO_LATE' };
  undo.push(() =>
    'charge_id' in message ? giveBackPayment({ charge_id: message.charge_id, reservation_id }) : cancelPayment(request),
  );
  const charge = await orUnknown(
    'charge_id' in message
      ? verifyCharge({ charge_id: message.charge_id, reservation_id, price })
      : authorisePayment({ ...request, payment_token: message.payment_token }),
  );
  if (charge.status === 'UNKNOWN') {
    return fail({ code: 'PAYMENT_UNAVAILABLE', detail: 'The payment gateway gave no answer.' });
  }
  if (charge.status === 'DECLINED') return fail({ code: 'PAYMENT_DECLINED', detail: charge.detail });

  const held = { ...seats, fence: hold.fence };
  undo.push(async () => void (hold.fence = await surely.unbookSeats(held)));
  if (!(await surely.bookSeats(held))) {
    return fail({ code: 'RESERVATION_NOT_HELD', detail: 'The seats are no longer held by this reservation.' });
  }
  if (!(await capturePayment(charge))) {
    return fail({ code: 'PAYMENT_DECLINED', detail: 'The gateway no longer has the reserved money.' });
  }
  await surely.confirmBooking({ ...booking, charge_id: charge.charge_id });
  return { status: 'CONFIRMED', booking_id: booking.booking_id, charge_id: charge.charge_id };
}

/** A gateway that never answered is neither a yes nor a no. */
async function orUnknown(answer: Promise<Authorisation>): Promise<Authorisation | { status: 'UNKNOWN' }> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ActivityFailure) return { status: 'UNKNOWN' };
    throw error;
  }
}
