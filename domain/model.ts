/**
 * The words of the product as schemas, and the types that derive from them. HTTP validates and serialises with the
 * schemas; everything else uses the types.
 */
import { Type, type Static } from 'typebox';

/** Ids are visible ASCII, so that one fits a URL, a Redis key and a varchar(64) alike. */
export const Id = Type.String({ minLength: 1, maxLength: 64, pattern: '^[!-~]+$' });

const Timestamp = Type.String({ format: 'date-time', description: 'RFC 3339, UTC' });

export const Money = Type.Object({
  amount: Type.Integer({ description: 'Minor units, for example cents' }),
  currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217' }),
});
export type Money = Static<typeof Money>;

export const SeatStatus = Type.Enum(['AVAILABLE', 'HELD', 'BOOKED']);
export type SeatStatus = Static<typeof SeatStatus>;

const ReservationStatus = Type.Enum(['HELD', 'CONFIRMED', 'RELEASED', 'EXPIRED']);
type ReservationStatus = Static<typeof ReservationStatus>;

/** How a reservation ends: exactly once. A REFUSED one never held its seats, and no buyer sees it. */
export type Ending = Exclude<ReservationStatus, 'HELD'> | 'REFUSED';

const BookingStatus = Type.Enum(['PENDING', 'CONFIRMED', 'FAILED']);

export const ChargeStatus = Type.Enum(['AUTHORIZED', 'CAPTURED', 'VOIDED', 'REFUNDED', 'DECLINED']);
export type ChargeStatus = Static<typeof ChargeStatus>;

/** One reservation holds at most this many seats. */
export const MAX_SEATS = 10;

export const Event = Type.Object({
  event_id: Id,
  name: Type.String(),
  venue: Type.String(),
  date: Timestamp,
  show_times: Type.Array(Timestamp),
  currency: Type.String(),
  seats_total: Type.Integer(),
});
export type Event = Static<typeof Event>;

export const Seat = Type.Object({
  seat_id: Id,
  section: Type.String(),
  row: Type.String(),
  number: Type.Integer(),
  x: Type.Integer(),
  y: Type.Integer(),
  price: Money,
  status: SeatStatus,
});
export type Seat = Static<typeof Seat>;

export const SeatChange = Type.Object({ seat_id: Id, status: SeatStatus });
export type SeatChange = Static<typeof SeatChange>;

export const Reservation = Type.Object({
  reservation_id: Id,
  event_id: Id,
  seat_ids: Type.Array(Id),
  user_id: Id,
  price: Money,
  status: ReservationStatus,
  expires_at: Timestamp,
  expires_in_seconds: Type.Integer({ description: 'Whole seconds left, by the server; 0 once the hold has ended' }),
  created_at: Timestamp,
  booking_id: Type.Optional(Id),
});
export type Reservation = Static<typeof Reservation>;

export const Failure = Type.Object({ code: Type.String(), detail: Type.String() });
export type Failure = Static<typeof Failure>;

export const Booking = Type.Object({
  booking_id: Id,
  reservation_id: Id,
  event_id: Id,
  seat_ids: Type.Array(Id),
  user_id: Id,
  price: Money,
  status: BookingStatus,
  created_at: Timestamp,
  failure: Type.Optional(Failure),
});
export type Booking = Static<typeof Booking>;

export const Charge = Type.Object({
  charge_id: Id,
  reservation_id: Id,
  amount: Type.Integer(),
  currency: Type.String(),
  status: ChargeStatus,
  created_at: Timestamp,
});
export type Charge = Static<typeof Charge>;

/** The seats of one reservation. */
export interface SeatsOfReservation {
  event_id: string;
  reservation_id: string;
  seat_ids: string[];
}
