/** Every key that Holdfast keeps in Redis. The braces are a cluster hash tag: all keys of an event share a slot. */

/** The lock of a seat; its value is the reservation that owns it. */
export const seatLock = (eventId: string, seatId: string) => `seat_lock:{${eventId}}:${seatId}`;

/**
 * The set of seats that are sold, so that they too are refused without asking PostgreSQL; bounded by the seats. It goes
 * when the event is over, as its changes do.
 */
export const bookedSeats = (eventId: string) => `seats_booked:{${eventId}}`;

/** The stream of an event's seat changes, the newest {@link SEAT_CHANGES_KEPT} or so. */
export const seatChanges = (eventId: string) => `seat_changes:{${eventId}}`;

/** A stream keeps about this many changes: who was away longer than that is told to read the map again. */
export const SEAT_CHANGES_KEPT = 20_000;

/** An entry with this field in place of a seat: some changes before it were not told, as Redis did not answer. */
export const SEAT_CHANGES_GAP = 'gap';

/** A cached seat map. */
export const eventMap = (eventId: string, showTime?: string) =>
  showTime === undefined ? `event_map:{${eventId}}` : `event_map:{${eventId}}:${showTime}`;
