import type { Logger } from 'pino';
import type { Pool } from 'pg';
import { createBookings } from './bookings.ts';
import { createNotifications } from './notifications.ts';
import { createPayments, type PaymentGateway } from './payments.ts';
import { createSeatHolds } from './seat-holds.ts';
import type { SeatLocks } from './seat-locks.ts';

/** What the side effects need from outside. */
export interface ActivityDependencies {
  database: Pool;
  seatLocks: SeatLocks;
  gateway: PaymentGateway;
  smtpUrl: string | undefined;
  mailFrom: string;
  log: Logger;
}

/** Short and repeatable: run as local activities, beside the workflow, wherever one runs. */
export const createSeatActivities = (database: Pool, locks: SeatLocks) => ({
  ...createSeatHolds(database, locks),
  ...createBookings(database),
});

/** Every activity, by the kind of task that carries it. */
export function createActivities({ database, seatLocks, gateway, smtpUrl, mailFrom, log }: ActivityDependencies) {
  return {
    seats: createSeatActivities(database, seatLocks),
    payments: createPayments(gateway),
    notifications: createNotifications(smtpUrl, mailFrom, log),
  };
}

export type Activities = ReturnType<typeof createActivities>;
