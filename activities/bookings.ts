import type { Pool } from 'pg';
import type { Failure } from '../domain/model.ts';

export interface BookingOfReservation {
  booking_id: string;
  reservation_id: string;
}

const OPEN = `
INSERT INTO bookings (booking_id, reservation_id, user_id, price, currency, status)
SELECT $1, reservation_id, user_id, price, currency, 'PENDING' FROM reservations WHERE reservation_id = $2
ON CONFLICT (booking_id) DO NOTHING`;

const FAIL = `
UPDATE bookings SET status = 'FAILED', failure_code = $2, failure_detail = $3
WHERE booking_id = $1 AND status = 'PENDING'`;

const CONFIRM = `
WITH confirmed AS (
  UPDATE bookings SET status = 'CONFIRMED' WHERE booking_id = $1 AND status = 'PENDING'
)
UPDATE reservations SET status = 'CONFIRMED' WHERE reservation_id = $2 AND status = 'HELD'`;

/** The purchase record: PENDING, then CONFIRMED together with its reservation, or FAILED. */
export function createBookings(database: Pool) {
  return {
    async openBooking({ booking_id, reservation_id }: BookingOfReservation): Promise<void> {
      await database.query({ name: 'open-booking', text: OPEN, values: [booking_id, reservation_id] });
    },

    /** The undo of `openBooking`: the record stays, with the reason. */
    async failBooking({ booking_id, failure }: BookingOfReservation & { failure: Failure }): Promise<void> {
      await database.query({ name: 'fail-booking', text: FAIL, values: [booking_id, failure.code, failure.detail] });
    },

    async confirmBooking({ booking_id, reservation_id }: BookingOfReservation): Promise<void> {
      await database.query({ name: 'confirm-booking', text: CONFIRM, values: [booking_id, reservation_id] });
    },
  };
}
