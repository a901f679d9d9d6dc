/** What is said to a reservation's workflow and what it answers: all that api/ and test/ import from this folder. */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { Hold } from '../activities/seat-holds.ts';
import type { Failure, ReservationStatus } from '../domain/model.ts';

/** Workflows and their local activities; payments (rate limited) and mail have queues of their own. */
export const TaskQueues = {
  reservations: 'reservations',
  payments: 'payments',
  notifications: 'notifications',
} as const;

/** The workflow id is the reservation id. */
export interface ReservationInput {
  event_id: string;
  user_id: string;
  seat_ids: string[];
  hold_seconds: number;
}

/** REFUSED: another reservation has some of the seats. FAILED: a service was away; nothing is held. */
export type Reserved =
  { status: 'HELD'; hold: Hold } | { status: 'REFUSED'; conflicts: string[] } | { status: 'FAILED' };

/** How a reservation ends: exactly once. Only the first three are reservations that a buyer ever had. */
export type Ending = Exclude<ReservationStatus, 'HELD'> | 'REFUSED';

export type Stage = 'RESERVING' | 'HELD' | 'PAYING' | Ending;

export type PaymentOutcome =
  | { status: 'CONFIRMED'; booking_id: string; charge_id: string }
  | { status: 'FAILED'; booking_id: string; failure: Failure };

/**
 * Asks for the hold's outcome; the first one comes with the start.
 * @param answer_by_ms when the asking client gives up, in epoch milliseconds: a hold granted later than every such
 * time is released again, unless another claim comes soon
 */
export const claim = defineUpdate<Reserved, [{ answer_by_ms: number }]>('claim');

/** A token to charge: accepted only while it can still be honoured, and answered when the payment is settled. */
export const pay = defineUpdate<PaymentOutcome, [{ payment_token: string }]>('pay');

/** Gives the seats back early. */
export const release = defineUpdate<Ending>('release');

/**
 * From a gateway's webhook (money that is taken already) or an operator (a token to charge). A signal cannot be
 * refused, so one that comes late is answered by rescue or refund.
 */
export const payment = defineSignal<[PaymentMessage]>('payment');
export type PaymentMessage = { payment_token: string } | { charge_id: string };

export const stage = defineQuery<Stage>('stage');

/** Why an update was refused: the `type` of its failure, and the `code` of the problem that HTTP answers. */
export type Refusal =
  | 'ALREADY_CONFIRMED'
  | 'RESERVATION_EXPIRED'
  | 'RESERVATION_RELEASED'
  | 'RESERVATION_NOT_HELD'
  | 'PAYMENT_IN_PROGRESS'
  | 'TOO_MANY_PAYMENTS';

/** By these an operator finds reservations in the Temporal UI. */
export const searchAttributes = {
  EventId: defineSearchAttributeKey('EventId', 'KEYWORD'),
  UserId: defineSearchAttributeKey('UserId', 'KEYWORD'),
  ReservationStatus: defineSearchAttributeKey('ReservationStatus', 'KEYWORD'),
};
