/** What the API reads from PostgreSQL, where it writes only idempotency keys and webhooks. */
import type { Pool } from 'pg';
import type { Booking, Event, Reservation, SeatStatus } from '../domain/model.ts';
import type { PlacedSeat } from './seat-layout.ts';

interface EventRow extends Omit<Event, 'date' | 'show_times'> {
  date: Date;
  show_times: Date[];
}

interface ReservationRow {
  reservation_id: string;
  event_id: string;
  seat_ids: string[];
  user_id: string;
  price: number;
  currency: string;
  status: Reservation['status'];
  expires_at: Date;
  expires_in_seconds: number;
  created_at: Date;
  booking_id: string | null;
}

interface BookingRow extends Omit<Booking, 'price' | 'created_at' | 'failure'> {
  price: number;
  currency: string;
  created_at: Date;
  failure_code: string | null;
  failure_detail: string | null;
}

export interface EventFilter {
  from: Date | undefined;
  to: Date | undefined;
  text: string | undefined;
  after: { date: Date; event_id: string } | undefined;
  limit: number;
}

const toEvent = (row: EventRow): Event => ({
  ...row,
  date: row.date.toISOString(),
  show_times: (row.show_times.length > 0 ? row.show_times : [row.date]).map((time) => time.toISOString()),
});

const toReservation = ({ price, currency, booking_id, ...row }: ReservationRow): Reservation => ({
  ...row,
  price: { amount: price, currency },
  expires_at: row.expires_at.toISOString(),
  created_at: row.created_at.toISOString(),
  ...(booking_id === null ? {} : { booking_id }),
});

const toBooking = ({ price, currency, failure_code, failure_detail, ...row }: BookingRow): Booking => ({
  ...row,
  price: { amount: price, currency },
  created_at: row.created_at.toISOString(),
  ...(failure_code === null ? {} : { failure: { code: failure_code, detail: failure_detail ?? '' } }),
});

const EVENT = 'event_id, name, venue, date, show_times, currency, seats_total';

const BOOKING = `
SELECT booking_id, reservation_id, event_id, seat_ids, bookings.user_id, bookings.price, bookings.currency,
       bookings.status, failure_code, failure_detail, bookings.created_at
FROM bookings JOIN reservations USING (reservation_id)`;

/** All reject where PostgreSQL does not answer in time. */
export function createQueries(database: Pool) {
  return {
    async findEvents({ from, to, text, after, limit }: EventFilter): Promise<Event[]> {
      const { rows } = await database.query<EventRow>(
        `SELECT ${EVENT} FROM events
         WHERE date BETWEEN coalesce($1::timestamptz, '-infinity') AND coalesce($2::timestamptz, 'infinity')
           AND strpos(lower(name || ' ' || venue), lower(coalesce($3::text, ''))) > 0
           AND (date, event_id) > (coalesce($4::timestamptz, '-infinity'), coalesce($5::varchar, ''))
         ORDER BY date, event_id LIMIT $6`,
        [from, to, text, after?.date, after?.event_id, limit],
      );
      return rows.map(toEvent);
    },

    /** An event, and a number that rises whenever its seats are laid out anew. */
    async getEventWithVersion(eventId: string): Promise<{ event: Event; layout_version: number } | undefined> {
      const { rows } = await database.query<EventRow & { layout_version: number }>({
        name: 'event',
        text: `SELECT ${EVENT}, layout_version FROM events WHERE event_id = $1`,
        values: [eventId],
      });
      if (!rows[0]) return undefined;
      const { layout_version, ...row } = rows[0];
      return { event: toEvent(row), layout_version };
    },

    /** Every seat of an event in the order of the house, with its show where there are several. */
    async getPlacedSeats(event: Event): Promise<{ seat: PlacedSeat; show_time: string | undefined }[]> {
      const { rows } = await database.query<Omit<PlacedSeat, 'price'> & { price: number; show_time: Date | null }>(
        `SELECT seat_id, section, "row", number, x, y, price, show_time FROM seats
         WHERE event_id = $1 ORDER BY y, x, seat_id`,
        [event.event_id],
      );
      return rows.map(({ price, show_time, ...seat }) => ({
        seat: { ...seat, price: { amount: price, currency: event.currency } },
        show_time: show_time?.toISOString(),
      }));
    },

    /** Those of the seats that the event has. */
    async findSeats(eventId: string, seatIds: string[]): Promise<string[]> {
      const { rows } = await database.query<{ seat_id: string }>(
        'SELECT seat_id FROM seats WHERE event_id = $1 AND seat_id = ANY($2)',
        [eventId, seatIds],
      );
      return rows.map(({ seat_id }) => seat_id);
    },

    /** Who is HELD or BOOKED in a show, as two lists: few rows to read, however large the house. */
    async getTakenSeats(eventId: string, showTime: string | undefined): Promise<[string, SeatStatus][]> {
      const { rows } = await database.query<{ status: SeatStatus; seat_ids: string }>({
        name: 'taken-seats',
        text: `SELECT status, string_agg(seat_id, E'\n') AS seat_ids FROM seats
               WHERE event_id = $1 AND status IN ('HELD', 'BOOKED') AND ($2::timestamptz IS NULL OR show_time = $2)
               GROUP BY status`,
        values: [eventId, showTime],
      });
      return rows.flatMap(({ status, seat_ids }) =>
        seat_ids.split('\n').map((seatId): [string, SeatStatus] => [seatId, status]),
      );
    },

    async getReservation(reservationId: string): Promise<Reservation | undefined> {
      const { rows } = await database.query<ReservationRow>({
        name: 'reservation',
        text: `SELECT reservation_id, event_id, seat_ids, user_id, price, currency, status, expires_at, created_at,
                 CASE status WHEN 'HELD' THEN greatest(0, floor(extract(epoch FROM expires_at - clock_timestamp())))
                             ELSE 0 END::int AS expires_in_seconds,
                 (SELECT booking_id FROM bookings WHERE bookings.reservation_id = reservations.reservation_id
                  ORDER BY bookings.created_at DESC LIMIT 1) AS booking_id
               FROM reservations WHERE reservation_id = $1 AND status <> 'REFUSED'`,
        values: [reservationId],
      });
      return rows[0] && toReservation(rows[0]);
    },

    async getBooking(bookingId: string): Promise<Booking | undefined> {
      const { rows } = await database.query<BookingRow>({
        name: 'booking',
        text: `${BOOKING} WHERE booking_id = $1`,
        values: [bookingId],
      });
      return rows[0] && toBooking(rows[0]);
    },

    /** A reservation's bookings, one for each payment tried, the last one first. */
    async getBookings(reservationId: string): Promise<Booking[]> {
      const { rows } = await database.query<BookingRow>({
        name: 'bookings',
        text: `${BOOKING} WHERE reservation_id = $1 ORDER BY bookings.created_at DESC LIMIT 20`,
        values: [reservationId],
      });
      return rows.map(toBooking);
    },

    /** What a charge has become where its reservation hears no more. UNDECIDED: the audit will end the reservation. */
    async getUseOfCharge(reservationId: string, chargeId: string): Promise<'BOOKED' | 'NONE' | 'UNDECIDED'> {
      const { rows } = await database.query<{ status: Reservation['status']; is_booked: boolean }>(
        `SELECT status, EXISTS (
           SELECT 1 FROM bookings WHERE reservation_id = $1 AND status = 'CONFIRMED' AND coalesce(charge_id, $2) = $2) AS is_booked
         FROM reservations WHERE reservation_id = $1`,
        [reservationId, chargeId],
      );
      if (rows[0]?.is_booked) return 'BOOKED';
      return rows[0]?.status === 'HELD' ? 'UNDECIDED' : 'NONE';
    },

    async ping(): Promise<void> {
      await database.query('SELECT 1');
    },
  };
}

export type Queries = ReturnType<typeof createQueries>;
