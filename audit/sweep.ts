/** The contract's invariants, looked up in every store. */
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';

export interface Faults {
  /** Seats that are not AVAILABLE although no reservation that is HELD or CONFIRMED has them. */
  orphaned_seats: string[];
  /** Seats of a reservation in the wrong status for it, or of another reservation. */
  lost_seats: string[];
  /** Reservations whose captured money is not what is booked. */
  wrong_money: string[];
  /** Locks in Redis of reservations that are not HELD. */
  stale_locks: string[];
}

const ORPHANED = `
SELECT seat_id FROM seats LEFT JOIN reservations USING (reservation_id)
WHERE seats.status <> 'AVAILABLE' AND reservations.status IS DISTINCT FROM
      CASE seats.status WHEN 'HELD' THEN 'HELD' ELSE 'CONFIRMED' END`;

const LOST = `
SELECT DISTINCT seat_id FROM reservations, unnest(seat_ids) AS seat_id JOIN seats USING (seat_id)
WHERE reservations.status IN ('HELD', 'CONFIRMED')
  AND (seats.reservation_id IS DISTINCT FROM reservations.reservation_id
       OR seats.status <> CASE reservations.status WHEN 'HELD' THEN 'HELD' ELSE 'BOOKED' END)`;

const WRONG_MONEY = `
WITH money AS (
  SELECT reservation_id, sum(amount) FILTER (WHERE status = 'CAPTURED') AS captured,
         count(*) FILTER (WHERE status = 'AUTHORIZED') AS pending
  FROM sandbox_gateway.charges GROUP BY reservation_id
)
SELECT coalesce(money.reservation_id, reservations.reservation_id) AS reservation_id
FROM money FULL JOIN reservations USING (reservation_id)
WHERE coalesce(captured, 0) <> CASE reservations.status WHEN 'CONFIRMED' THEN reservations.price ELSE 0 END
   OR pending > 0`;

/** Everything that must not be there once no reservation is under way (open holds may be). */
export async function findFaults({ database, redis }: { database: Pool; redis: Redis }): Promise<Faults> {
  const column = async (sql: string, name: string) =>
    (await database.query<Record<string, string>>(sql)).rows.map((row) => row[name] ?? '');
  const { rows } = await database.query<{ reservation_id: string }>(
    `SELECT reservation_id FROM reservations WHERE status = 'HELD'`,
  );
  const held = new Set(rows.map(({ reservation_id }) => reservation_id));
  const locks = await redis.keys('seat_lock:*');
  const owners = locks.length > 0 ? await redis.mget(locks) : [];
  return {
    orphaned_seats: await column(ORPHANED, 'seat_id'),
    lost_seats: await column(LOST, 'seat_id'),
    wrong_money: await column(WRONG_MONEY, 'reservation_id'),
    stale_locks: locks.filter((_, i) => !held.has(owners[i] ?? '')),
  };
}

export const NO_FAULTS: Faults = { orphaned_seats: [], lost_seats: [], wrong_money: [], stale_locks: [] };
