/** What the API reads from PostgreSQL. It writes nothing there but idempotency keys. */
import type { Pool } from 'pg';
import type { Booking, Event, Reservation, Seat } from '../domain/model.ts';

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

export function createQueries(database: Pool) {
  return {
    async findEvents({ from, to, text, after, limit }: EventFilter): Promise<Event[]> {
      const { rows } = await database.query<EventRow>(
        `SELECT ${EVENT} FROM events
         WHERE ($1::timestamptz IS NULL OR date >= $1) AND ($2::timestamptz IS NULL OR date <= $2)
           AND ($3::text IS NULL OR strpos(lower(name || ' ' || venue), lower($3)) > 0)
           AND ($4::timestamptz IS NULL OR (date, event_id) > ($4, $5))
         ORDER BY date, event_id LIMIT $6`,
        [from, to, text, after?.date, after?.event_id, limit],
      );
      return rows.map(toEvent);
    },

    async getEvent(eventId: string): Promise<Event | undefined> {
      const { rows } = await database.query<EventRow>(`SELECT ${EVENT} FROM events WHERE event_id = $1`, [eventId]);
      return rows[0] && toEvent(rows[0]);
    },

    /** Every seat id of an event, with its show where there are several. */
    async getSeatIds(eventId: string): Promise<{ seat_id: string; show_time: string | undefined }[]> {
      const { rows } = await database.query<{ seat_id: string; show_time: Date | null }>({
        name: 'seat-ids',
        text: 'SELECT seat_id, show_time FROM seats WHERE event_id = $1',
        values: [eventId],
      });
      return rows.map(({ seat_id, show_time }) => ({ seat_id, show_time: show_time?.toISOString() }));
    },

    /** Those of the seats that the event has. */
    async findSeats(eventId: string, seatIds: string[]): Promise<string[]> {
      const { rows } = await database.query<{ seat_id: string }>(
        'SELECT seat_id FROM seats WHERE event_id = $1 AND seat_id = ANY($2)',
        [eventId, seatIds],
      );
      return rows.map(({ seat_id }) => seat_id);
    },

    /** The seats of a show in the order of the house. @param showTime undefined: all seats of the event */
    async getSeats(event: Event, showTime: string | undefined): Promise<Seat[]> {
      const { rows } = await database.query<Omit<Seat, 'price'> & { price: number }>({
        name: 'seats',
        text: `SELECT seat_id, section, "row", number, x, y, price, status FROM seats
               WHERE event_id = $1 AND ($2::timestamptz IS NULL OR show_time = $2)
               ORDER BY y, x, seat_id`,
        values: [event.event_id, showTime],
      });
      return rows.map(({ price, ...seat }) => ({ ...seat, price: { amount: price, currency: event.currency } }));
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

    async ping(): Promise<void> {
      await database.query('SELECT 1');
    },
  };
}

export type Queries = ReturnType<typeof createQueries>;
