import type { Pool } from 'pg';
import type { Ending, SeatsOfReservation } from '../domain/model.ts';
import type { SeatLocks } from './seat-locks.ts';

/** What PostgreSQL granted. */
export interface Hold {
  /** Rises with every hold of a seat; a writer with an older one changes nothing. */
  fence: string;
  price: number;
  currency: string;
  created_at: string;
  expires_at: string;
  /** Time left when PostgreSQL granted it, in milliseconds: no two clocks need to agree. */
  hold_ms: number;
}

/** The event's limit on the seats that a user may have, and how many this one has. */
export interface SeatLimit {
  limit: number;
  held: number;
}

/** Why nothing was held: others have some of the seats, or the user has enough. */
export type HoldRefusal = { conflicts: string[] } | { seat_limit: SeatLimit };

export type HoldResult = { hold: Hold } | HoldRefusal;

/** The seats of one hold. */
export interface HeldSeats extends SeatsOfReservation {
  fence: string;
}

export interface HoldRequest extends SeatsOfReservation {
  user_id: string;
  hold_seconds: number;
  /** Take the seats again for a reservation that has EXPIRED, for a payment that came late. */
  rescue: boolean;
}

/** A hold whose outcome is not known. */
export interface DoubtfulHold extends SeatsOfReservation {
  user_id: string;
}

export interface ReleaseRequest extends DoubtfulHold {
  /** Unknown when the hold's outcome is. */
  fence: string | undefined;
  ending: Exclude<Ending, 'CONFIRMED'>;
}

/** What a hold is answered with; the columns of {@link HoldRow}. */
const GRANT = `fence, price, currency, created_at, expires_at,
       greatest(0, extract(epoch FROM expires_at - clock_timestamp()) * 1000)::float8 AS hold_ms`;

/**
 * Locks rows in one order, whatever order the buyer named, so that no two holds wait for each other. They are found by
 * their key alone and judged once they are locked, as they are by then: a condition on the status would let the planner
 * read all free seats of the event. All seats or no reservation. The user's seats are counted last, and only where the
 * event has a limit (see count_seats_of_user). The hold begins after all of that, however long it waited for locks: its
 * buyer has all of its time, and the workflow knows when it was granted. A reservation that has ended (see RELEASE) stays ended: an INSERT that
 * comes late conflicts with it.
 */
const HOLD = `
WITH wanted AS (
  SELECT seat_id, event_id, status, fence, price FROM seats WHERE seat_id = ANY($3) ORDER BY seat_id FOR UPDATE
), free AS (
  SELECT fence, price FROM wanted WHERE event_id = $2 AND status = 'AVAILABLE'
), event AS (
  SELECT currency, seats_per_user FROM events WHERE event_id = $2
), won AS (
  SELECT sum(price) AS price, event.currency, max(fence) + 1 AS fence, clock_timestamp() AS at
  FROM free, event GROUP BY event.currency, event.seats_per_user
  HAVING CASE WHEN count(*) < cardinality($3::varchar[]) THEN false
              WHEN event.seats_per_user IS NULL THEN true
              ELSE count_seats_of_user($2, $4) + count(*) <= event.seats_per_user END
), granted AS (
  INSERT INTO reservations (reservation_id, event_id, user_id, seat_ids, price, currency, status, fence,
                            created_at, expires_at, release_at)
  SELECT $1, $2, $4, $3, price, currency, 'HELD', fence,
         at, at + make_interval(secs => $5), at + make_interval(secs => $5)
  FROM won
  ON CONFLICT (reservation_id) DO UPDATE SET status = 'HELD', fence = excluded.fence, release_at = NULL
  WHERE $6 AND reservations.status = 'EXPIRED'
  RETURNING fence, price, currency, created_at, expires_at
), held AS (
  UPDATE seats SET status = 'HELD', reservation_id = $1, fence = granted.fence
  FROM granted WHERE seat_id = ANY($3) RETURNING seat_id
)
SELECT ${GRANT}
FROM granted`;

/** A hold granted before, whose answer was lost. */
const GRANTED_BEFORE = `
SELECT ${GRANT}
FROM reservations WHERE reservation_id = $1 AND status = 'HELD'`;

const CONFLICTS = `
SELECT wanted.seat_id FROM unnest($2::varchar[]) WITH ORDINALITY AS wanted (seat_id, position)
LEFT JOIN seats ON seats.seat_id = wanted.seat_id
WHERE seats.event_id IS DISTINCT FROM $1 OR seats.status <> 'AVAILABLE'
ORDER BY position`;

const SEAT_LIMIT = `
SELECT seats_per_user AS limit, count_seats_of_user($1, $2)::int AS held
FROM events WHERE event_id = $1 AND seats_per_user IS NOT NULL`;

/** Where there is no such reservation, the row that this leaves makes a hold statement that comes late change nothing. */
const REFUSE = `
INSERT INTO reservations (reservation_id, event_id, user_id, seat_ids, price, currency, status, fence, created_at, expires_at)
VALUES ($1, $2, $4, $3, 0, 'XXX', 'REFUSED', 0, now(), now())
ON CONFLICT (reservation_id) DO`;

/**
 * Frees what this reservation holds and notes its ending, also where it holds nothing yet. Answers the seats that are
 * free, also on a repeat. The reservation is locked before its seats, here and in EXPIRE_DUE.
 */
const RELEASE = `
WITH ended AS (${REFUSE} UPDATE SET status = $6
  WHERE reservations.status = 'HELD' AND reservations.fence <= coalesce($5, reservations.fence)
  RETURNING status
), mine AS (
  SELECT seat_id FROM seats
  WHERE (SELECT count(*) FROM ended) >= 0
    AND seat_id = ANY($3) AND reservation_id = $1 AND status = 'HELD' AND fence <= coalesce($5, fence)
  ORDER BY seat_id FOR UPDATE
), freed AS (
  UPDATE seats SET status = 'AVAILABLE', reservation_id = NULL, fence = seats.fence + 1
  FROM mine WHERE seats.seat_id = mine.seat_id RETURNING seats.seat_id
)
SELECT coalesce((SELECT status FROM ended), (SELECT status FROM reservations WHERE reservation_id = $1)) AS ending,
       array(SELECT seat_id FROM freed
             UNION SELECT seat_id FROM seats WHERE seat_id = ANY($3) AND status = 'AVAILABLE') AS free`;

/**
 * Frees every hold of the event that is due, a batch at a time: when thousands run out together, the first timers that
 * fire free them all, however long the rest of their workflows wait for a worker. Holds being paid for are not due.
 */
const EXPIRE_DUE = `
WITH due AS (
  SELECT reservation_id FROM reservations
  WHERE event_id = $1 AND status = 'HELD' AND release_at <= clock_timestamp()
  ORDER BY release_at LIMIT 500 FOR UPDATE SKIP LOCKED
), expired AS (
  UPDATE reservations SET status = 'EXPIRED' FROM due WHERE reservations.reservation_id = due.reservation_id
  RETURNING reservations.reservation_id, seat_ids, fence
), theirs AS (
  SELECT seats.seat_id FROM (SELECT unnest(seat_ids) AS seat_id, reservation_id, fence FROM expired) AS of
  JOIN seats ON seats.seat_id = of.seat_id
  WHERE seats.reservation_id = of.reservation_id AND seats.fence = of.fence AND seats.status = 'HELD'
  ORDER BY seats.seat_id FOR UPDATE OF seats
), freed AS (
  UPDATE seats SET status = 'AVAILABLE', reservation_id = NULL, fence = seats.fence + 1
  FROM theirs WHERE seats.seat_id = theirs.seat_id
)
SELECT reservation_id, seat_ids FROM expired`;

/** All of a hold's seats, or none; a repeat counts as done. */
const BOOK = `
WITH mine AS (
  SELECT seat_id FROM seats
  WHERE seat_id = ANY($2) AND reservation_id = $1 AND fence = $3 AND status IN ('HELD', 'BOOKED')
  ORDER BY seat_id FOR UPDATE
)
UPDATE seats SET status = 'BOOKED'
WHERE seat_id = ANY($2) AND (SELECT count(*) FROM mine) = cardinality($2::varchar[])`;

/**
 * With a higher fence, so that a booking that is still on its way changes nothing when it arrives. Answers the fence
 * that the hold has by now, also on a repeat.
 */
const UNBOOK = `
WITH hold AS (
  SELECT fence FROM reservations WHERE reservation_id = $1 FOR UPDATE
), mine AS (
  SELECT seat_id FROM seats
  WHERE (SELECT fence FROM hold) = $3 AND seat_id = ANY($2) AND reservation_id = $1 AND fence = $3 AND status = 'BOOKED'
  ORDER BY seat_id FOR UPDATE
), held AS (
  UPDATE seats SET status = 'HELD', fence = fence + 1 FROM mine WHERE seats.seat_id = mine.seat_id
  RETURNING seats.seat_id
), raised AS (
  UPDATE reservations SET fence = fence + 1 WHERE reservation_id = $1 AND EXISTS (SELECT 1 FROM held)
  RETURNING fence
)
SELECT coalesce((SELECT fence FROM raised), (SELECT fence FROM hold)) AS fence,
       EXISTS (SELECT 1 FROM held) OR EXISTS (
         SELECT 1 FROM seats WHERE seat_id = ANY($2) AND reservation_id = $1 AND status = 'HELD') AS is_held`;

/** Seats that come free while they are refused are asked for again this often. */
const MAX_TRIES = 3;

/** A lock outlives its hold by this much, so that a payment under way at the deadline keeps it. */
const LOCK_GRACE_MS = 60_000;

interface HoldRow extends Omit<Hold, 'created_at' | 'expires_at'> {
  created_at: Date;
  expires_at: Date;
}

const toHold = (row: HoldRow): Hold => ({
  ...row,
  created_at: row.created_at.toISOString(),
  expires_at: row.expires_at.toISOString(),
});

/** Expires what is due in the event; answers which reservations those were, of which there may be more. */
export async function expireDue(database: Pool, locks: SeatLocks, event_id: string): Promise<string[]> {
  const { rows } = await database.query<{ reservation_id: string; seat_ids: string[] }>({
    name: 'expire-due',
    text: EXPIRE_DUE,
    values: [event_id],
  });
  await Promise.allSettled(
    rows.map(async (row) => {
      await locks.announce({ ...row, event_id }, 'AVAILABLE');
      await locks.unlock({ ...row, event_id });
    }),
  );
  return rows.map(({ reservation_id }) => reservation_id);
}

/** PostgreSQL decides who has a seat. Every statement names its owner, and every one may be repeated. */
export function createSeatHolds(database: Pool, locks: SeatLocks) {
  const grantedBefore = async (reservationId: string) =>
    (await database.query<HoldRow>(GRANTED_BEFORE, [reservationId])).rows[0];

  /** The hold that is made now, or was before. */
  async function grant(request: HoldRequest): Promise<HoldRow | undefined> {
    const { reservation_id, event_id, seat_ids, user_id, hold_seconds, rescue } = request;
    const { rows } = await database.query<HoldRow>({
      name: 'hold-seats',
      text: HOLD,
      values: [reservation_id, event_id, seat_ids, user_id, hold_seconds, rescue],
    });
    return rows[0] ?? grantedBefore(reservation_id);
  }

  async function findRefusal({ event_id, user_id, seat_ids }: HoldRequest): Promise<HoldRefusal> {
    const taken = await database.query<{ seat_id: string }>(CONFLICTS, [event_id, seat_ids]);
    const limited = await database.query<SeatLimit>(SEAT_LIMIT, [event_id, user_id]);
    const [seat_limit] = limited.rows;
    const isOver = seat_limit && seat_limit.held + seat_ids.length > seat_limit.limit;
    if (taken.rows.length === 0 && isOver) return { seat_limit };
    return { conflicts: taken.rows.map(({ seat_id }) => seat_id) };
  }

  return {
    /**
     * Locks the seats in Redis, where most of those who come too late are refused, and holds them in PostgreSQL: all,
     * or none. A repeat answers the hold that is there.
     */
    async holdSeats(request: HoldRequest): Promise<HoldResult> {
      const locked = await locks.lock(request, request.hold_seconds * 1_000 + LOCK_GRACE_MS);
      if (locked.conflicts.length > 0) {
        const before = await grantedBefore(request.reservation_id); // whose lock Redis may have lost to another's since
        return before ? { hold: toHold(before) } : locked;
      }
      for (let tries = 1; ; tries++) {
        const row = await grant(request);
        if (row) {
          await locks.announce(request, 'HELD');
          return { hold: toHold(row) };
        }
        const refusal = await findRefusal(request);
        const isFreeByNow = 'conflicts' in refusal && refusal.conflicts.length === 0;
        if (isFreeByNow && tries < MAX_TRIES) continue;
        await locks.unlock(request).catch(() => undefined); // the undo may have come before: no lock is to outlive it
        return refusal;
      }
    },

    /** The hold that was granted; where none was, none will be. */
    async resolveHold(doubtful: DoubtfulHold): Promise<HoldResult> {
      const { reservation_id, event_id, seat_ids, user_id } = doubtful;
      await database.query(`${REFUSE} NOTHING`, [reservation_id, event_id, seat_ids, user_id]);
      const row = await grantedBefore(reservation_id);
      if (!row) return { conflicts: [] };
      await locks.announce(doubtful, 'HELD');
      return { hold: toHold(row) };
    },

    /**
     * The undo of `holdSeats`: frees the seats and notes how the reservation ended. Answers how it did end: it may have
     * expired with others by the time that it is released.
     */
    async releaseSeats(request: ReleaseRequest): Promise<Ending> {
      const { reservation_id, event_id, seat_ids, user_id, fence, ending } = request;
      if (ending === 'EXPIRED' && (await expireDue(database, locks, event_id)).includes(reservation_id)) return ending;
      const release = async () => {
        const { rows } = await database.query<{ ending: Ending | 'HELD'; free: string[] }>({
          name: 'release-seats',
          text: RELEASE,
          values: [reservation_id, event_id, seat_ids, user_id, fence, ending],
        });
        return rows[0] ?? { ending, free: [] };
      };
      const first = await release();
      // Ended by others' expiry while it waited for that: a statement sees what was there when it began, the next sees it.
      const { ending: ended, free } = first.ending === 'HELD' ? await release() : first;
      await locks.announce({ ...request, seat_ids: seat_ids.filter((seatId) => free.includes(seatId)) }, 'AVAILABLE');
      await locks.unlock(request).catch(() => undefined); // who is told of the release may hold the seats at once
      return ended === 'HELD' ? ending : ended; // taken anew since, with a higher fence: this hold ended as it was to
    },

    /** Ends every reservation, whatever became of it: its locks go, and where it was sold a mark takes their place. */
    async unlockSeats({ sold, ...seats }: SeatsOfReservation & { sold: boolean }): Promise<void> {
      await locks.unlock(seats, sold);
    },

    /** HELD to BOOKED; false when the hold is no longer this reservation's. */
    async bookSeats(seats: HeldSeats): Promise<boolean> {
      const { rowCount } = await database.query({
        name: 'book-seats',
        text: BOOK,
        values: [seats.reservation_id, seats.seat_ids, seats.fence],
      });
      const booked = rowCount === seats.seat_ids.length;
      if (booked) await locks.announce(seats, 'BOOKED');
      return booked;
    },

    /** The undo of `bookSeats`: the seats are held again. Answers the hold's fence, which is a new one by then. */
    async unbookSeats(seats: HeldSeats): Promise<string> {
      const { rows } = await database.query<{ fence: string; is_held: boolean }>({
        name: 'unbook-seats',
        text: UNBOOK,
        values: [seats.reservation_id, seats.seat_ids, seats.fence],
      });
      if (rows[0]?.is_held) await locks.announce(seats, 'HELD');
      return rows[0]?.fence ?? seats.fence;
    },
  };
}
