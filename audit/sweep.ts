/** The contract's invariants, looked up in the stores: for the whole house, or for one event while it is on sale. */
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';

/** What PostgreSQL and the gateway can tell. */
export interface StoredFaults {
  /** Seats that are not AVAILABLE although no reservation that is HELD or CONFIRMED has them. */
  orphaned_seats: string[];
  /** Seats of a reservation in the wrong status for it, or of another reservation. */
  lost_seats: string[];
  /** Reservations whose captured money is not what is booked. */
  wrong_money: string[];
}

export interface Faults extends StoredFaults {
  /** Locks in Redis of reservations that are not HELD. */
  stale_locks: string[];
}

/** A payment under way: its seats may be BOOKED already, and its money reserved or taken. */
const IS_PAYING = `(reservations.status = 'HELD' AND reservations.release_at IS NULL)`;

/** $1: the event, or null for all. $2: how long what is under way may take in seconds, or null where nothing is. */
const ORPHANED = `
SELECT seat_id AS id FROM seats LEFT JOIN reservations USING (reservation_id)
WHERE ($1::varchar IS NULL OR seats.event_id = $1)
  AND seats.status <> 'AVAILABLE' AND seats.reservation_id IS NOT NULL AND reservations.status IS DISTINCT FROM
      CASE seats.status WHEN 'HELD' THEN 'HELD' ELSE 'CONFIRMED' END
  AND NOT ($2::float8 IS NOT NULL AND reservations.status IS NOT NULL AND ${IS_PAYING})`;

const LOST = `
SELECT DISTINCT seat_id AS id FROM reservations, unnest(seat_ids) AS seat_id JOIN seats USING (seat_id)
WHERE ($1::varchar IS NULL OR reservations.event_id = $1) AND reservations.status IN ('HELD', 'CONFIRMED')
  AND (seats.reservation_id IS DISTINCT FROM reservations.reservation_id
       OR (seats.status <> CASE reservations.status WHEN 'HELD' THEN 'HELD' ELSE 'BOOKED' END
           AND NOT ($2::float8 IS NOT NULL AND ${IS_PAYING})))`;

/** A charge that is new may be on its way: to a booking by a webhook, or back to the buyer. */
const WRONG_MONEY = `
WITH money AS (
  SELECT reservation_id, sum(amount) FILTER (WHERE status = 'CAPTURED') AS captured,
         count(*) FILTER (WHERE status = 'AUTHORIZED') AS pending, max(created_at) AS last_at
  FROM sandbox_gateway.charges
  WHERE $1::varchar IS NULL OR reservation_id IN (SELECT reservation_id FROM reservations WHERE event_id = $1)
  GROUP BY reservation_id
)
SELECT coalesce(money.reservation_id, reservations.reservation_id) AS id
FROM money FULL JOIN (SELECT * FROM reservations WHERE $1::varchar IS NULL OR event_id = $1) AS reservations
     USING (reservation_id)
WHERE (coalesce(captured, 0) <> CASE reservations.status WHEN 'CONFIRMED' THEN reservations.price ELSE 0 END
       OR pending > 0)
  AND NOT ($2::float8 IS NOT NULL AND (coalesce(${IS_PAYING}, false)
                                       OR coalesce(last_at > now() - make_interval(secs => $2), false)))`;

/**
 * @param eventId one event, or null for all
 * @param patienceSeconds how long what is under way may take; null where nothing is under way
 */
export async function findStoredFaults(
  database: Pool,
  eventId: string | null,
  patienceSeconds: number | null,
): Promise<StoredFaults> {
  const ids = async (sql: string) =>
    (await database.query<{ id: string }>(sql, [eventId, patienceSeconds])).rows.map(({ id }) => id);
  const [orphaned_seats, lost_seats, wrong_money] = [await ids(ORPHANED), await ids(LOST), await ids(WRONG_MONEY)];
  return { orphaned_seats, lost_seats, wrong_money };
}

/** Everything that must not be there once no reservation is under way (open holds may be). */
export async function findFaults({ database, redis }: { database: Pool; redis: Redis }): Promise<Faults> {
  const { rows } = await database.query<{ reservation_id: string }>(
    `SELECT reservation_id FROM reservations WHERE status = 'HELD'`,
  );
  const held = new Set(rows.map(({ reservation_id }) => reservation_id));
  const locks = await redis.keys('seat_lock:*');
  const owners = locks.length > 0 ? await redis.mget(locks) : [];
  return {
    ...(await findStoredFaults(database, null, null)),
    stale_locks: locks.filter((_, i) => !held.has(owners[i] ?? '')),
  };
}

export const NO_FAULTS: Faults = { orphaned_seats: [], lost_seats: [], wrong_money: [], stale_locks: [] };
