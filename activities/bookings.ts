import type { Pool } from 'pg';
import type { Failure } from '../domain/model.ts';

export interface BookingOfReservation {
  booking_id: string;
  reservation_id: string;
}

/** Found by its key and judged then: a condition on the status would let a plan go through all that are HELD. */
const RESERVATION = 'reservation AS (SELECT status FROM reservations WHERE reservation_id = $2 FOR UPDATE)';

/** Keeps the hold past its deadline while it is paid for; a reservation that has lost its hold gets no booking. */
const OPEN = `
WITH ${RESERVATION}, paying AS (
  UPDATE reservations SET release_at = NULL
  FROM reservation WHERE reservation_id = $2 AND reservation.status = 'HELD'
  RETURNING reservation_id, user_id, price, currency
), opened AS (
  INSERT INTO bookings (booking_id, reservation_id, user_id, price, currency, status)
  SELECT $1, reservation_id, user_id, price, currency, 'PENDING' FROM paying
  ON CONFLICT (booking_id) DO NOTHING
)
SELECT reservation_id FROM paying`;

/** The hold goes back to its deadline. */
const FAIL = `
WITH ${RESERVATION}, failed AS (
  UPDATE bookings SET status = 'FAILED', failure_code = $3, failure_detail = $4
  WHERE booking_id = $1 AND status = 'PENDING'
)
UPDATE reservations SET release_at = expires_at
FROM reservation WHERE reservation_id = $2 AND reservation.status = 'HELD'`;

const CONFIRM = `
WITH ${RESERVATION}, confirmed AS (
  UPDATE bookings SET status = 'CONFIRMED', charge_id = $3 WHERE booking_id = $1 AND status = 'PENDING'
)
UPDATE reservations SET status = 'CONFIRMED'
FROM reservation WHERE reservation_id = $2 AND reservation.status = 'HELD'`;

/** The purchase record: PENDING, then CONFIRMED together with its reservation, or FAILED. */
export function createBookings(database: Pool) {
  return {
    /** False where the reservation no longer holds its seats. */
    async openBooking({ booking_id, reservation_id }: BookingOfReservation): Promise<boolean> {
      const { rowCount } = await database.query({
        name: 'open-booking',
        text: OPEN,
        values: [booking_id, reservation_id],
      });
      return rowCount === 1;
    },

    /** The undo of `openBooking`: the record stays, with the reason. */
    async failBooking(booking: BookingOfReservation & { failure: Failure }): Promise<void> {
      const { booking_id, reservation_id, failure } = booking;
      await database.query({
        name: 'fail-booking',
        text: FAIL,
        values: [booking_id, reservation_id, failure.code, failure.detail],
      });
    },

    /** The booking and its reservation are CONFIRMED together. */
    async confirmBooking(booking: BookingOfReservation & { charge_id: string }): Promise<void> {
      const { booking_id, reservation_id, charge_id } = booking;
      await database.query({ name: 'confirm-booking', text: CONFIRM, values: [booking_id, reservation_id, charge_id] });
    },
  };
}
