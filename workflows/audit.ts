import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { proxyLocalActivities, startChild } from '@temporalio/workflow';
import type { Audits, OrphanedPayment } from '../activities/audits.ts';
import type { Charge } from '../domain/model.ts';
import { cancelPayment, capturePayment, giveBackPayment, listCharges, surely, unlockSeats } from './steps.ts';

const { auditEvent } = proxyLocalActivities<Audits>({
  startToCloseTimeout: '20 seconds',
  retry: { maximumAttempts: 2 },
});

const { noteHealed } = proxyLocalActivities<Audits>({ startToCloseTimeout: '3 seconds' });

/** Run by the event's schedule, again and again while the event is on sale. */
export async function audit(eventId: string): Promise<void> {
  const orphans = await auditEvent(eventId);
  await Promise.all(orphans.map(startHealing));
}

/** By the reservation's id, so that two audits heal it once; on its own, so that a gateway that is away stops no audit. */
async function startHealing(orphan: OrphanedPayment): Promise<void> {
  try {
    await startChild(heal, {
      workflowId: `heal:${orphan.reservation_id}`,
      args: [orphan],
      parentClosePolicy: 'ABANDON',
      staticSummary: `payment of ${orphan.reservation_id}, whose workflow is gone`,
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

/**
 * Ends a reservation whose workflow was terminated in the middle of a payment. Where the money is taken, or the seats
 * are booked and it can still be taken, the booking is confirmed; else all of it is taken back.
 */
export async function heal(orphan: OrphanedPayment): Promise<'CONFIRMED' | 'EXPIRED'> {
  const { event_id, reservation_id, seat_ids, fence, user_id, booking_id } = orphan;
  const seats = { event_id, reservation_id, seat_ids };
  const price = { amount: orphan.price, currency: orphan.currency };
  const charges = (await listCharges(seats)).filter(isLive);
  const booking = booking_id === null ? undefined : { reservation_id, booking_id };
  const charge = charges.find((it) => isGoodFor(it, orphan));

  const isConfirmed =
    booking !== undefined &&
    charge !== undefined &&
    (await surely.bookSeats({ ...seats, fence })) &&
    (await capturePayment(charge));
  if (isConfirmed) await surely.confirmBooking({ ...booking, charge_id: charge.charge_id });

  for (const it of charges) if (!isConfirmed || it !== charge) await giveBackPayment(it);
  if (!isConfirmed) {
    if (booking) {
      await cancelPayment({ reservation_id, price, idempotency_key: booking.booking_id });
      await surely.failBooking({ ...booking, failure: STOPPED });
    }
    const release = { ...seats, user_id, fence, ending: 'EXPIRED' } as const;
    await surely.releaseSeats(release);
    const raised = await surely.unbookSeats({ ...seats, fence }); // booked after all by a task that was under way
    await surely.releaseSeats({ ...release, fence: raised });
  }
  await unlockSeats({ ...seats, sold: isConfirmed });
  await noteHealed(seats);
  return isConfirmed ? 'CONFIRMED' : 'EXPIRED';
}

const STOPPED = { code: 'PAYMENT_UNAVAILABLE', detail: 'The payment was stopped. No money was taken.' };

const isLive = ({ status }: Charge) => status === 'AUTHORIZED' || status === 'CAPTURED';

const isGoodFor = ({ status, amount, currency }: Charge, orphan: OrphanedPayment) =>
  (status === 'CAPTURED' || orphan.is_booked) && amount === orphan.price && currency === orphan.currency;
