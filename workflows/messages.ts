/** What is said to a reservation's workflow and what it answers: all that api/ and test/ import from this folder. */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { Hold, HoldRefusal, HoldResult } from '../activities/seat-holds.ts';
import type { Ending, Failure } from '../domain/model.ts';

/** Workflows and their local activities; payments (rate limited) and mail have queues of their own, audits too. */
export const TaskQueues = {
  reservations: 'reservations',
  audits: 'audits',
  payments: 'payments',
  notifications: 'notifications',
} as const;

/** A client is told by then, if only that nothing is known; so long it waits for a hold, or for a claim. */
export const ANSWER_WITHIN_MS = 2_000;

/** The workflow id is the reservation id. */
export interface ReservationInput {
  event_id: string;
  user_id: string;
  seat_ids: string[];
  hold_seconds: number;
  /** What is left of the client's patience when this is sent: a hold granted later may be nobody's. */
  answer_within_ms: number;
}

/** REFUSED: others have some of the seats, or the user has enough. FAILED: nothing is held; a retry may have them. */
export type Reserved = { status: 'HELD'; hold: Hold } | ({ status: 'REFUSED' } & HoldRefusal) | { status: 'FAILED' };

/** Seats that were taken and are free by now are no reason to choose others. */
export function toReserved(result: HoldResult): Reserved {
  if ('hold' in result) return { status: 'HELD', hold: result.hold };
  const isForNothing = 'conflicts' in result && result.conflicts.length === 0;
  return isForNothing ? { status: 'FAILED' } : { status: 'REFUSED', ...result };
}

export type Stage = 'RESERVING' | 'HELD' | 'PAYING' | Ending;

/** TOO_LATE: the hold had run out, and other buyers have the seats. */
export type PaymentOutcome =
  | { status: 'CONFIRMED'; booking_id: string; charge_id: string }
  | { status: 'FAILED'; booking_id: string; failure: Failure }
  | { status: 'TOO_LATE' };

/**
 * Asks for the hold's outcome. A hold that was granted after its client gave up stays only if it is asked for, and only
 * where it is granted while whoever asks still waits. Nothing is sent with it in older histories.
 */
export const claim = defineUpdate<Reserved, [Pick<ReservationInput, 'answer_within_ms'> | undefined]>('claim');

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
  | 'TOO_MANY_PAYMENTS'
  | 'MALFORMED_PAYMENT';

/** By these an operator finds reservations in the Temporal UI. */
export const searchAttributes = {
  EventId: defineSearchAttributeKey('EventId', 'KEYWORD'),
  UserId: defineSearchAttributeKey('UserId', 'KEYWORD'),
  ReservationStatus: defineSearchAttributeKey('ReservationStatus', 'KEYWORD'),
};
