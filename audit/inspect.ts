/** One event as PostgreSQL, Redis, the gateway and Temporal have it, compared while it is on sale. Changes nothing. */
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import type { SeatsOfReservation } from '../domain/model.ts';
import { bookedSeats, seatLock } from '../domain/redis-keys.ts';
import { IS_ON_SALE } from './on-sale.ts';
import { NO_FAULTS, findStoredFaults, type Faults } from './sweep.ts';

/** How long anything may take before it is looked after: a start, a payment, the freeing of a hold. */
export const PATIENCE_SECONDS = 15;

/** So many workflows are looked up in one audit at most; the next one goes on. */
const MAX_LOOK_UPS = 1_000;
const LOOK_UPS_AT_ONCE = 20;
const TEMPORAL_DEADLINE_MS = 5_000;
const LOCKS_AT_ONCE = 1_000;
/** Between two batches: who buys goes first, and an audit is in no hurry. */
const PAUSE_MS = 10;

/** By kind, the ids of what is wrong. */
export interface EventFaults extends Faults {
  /** Holds past their deadline that nobody freed and nobody pays for. */
  overdue_holds: string[];
  /** Reservations whose workflow was terminated while they were being paid for. */
  orphaned_payments: string[];
  /** Held seats without their lock. */
  missing_locks: string[];
  /** Open workflows of which PostgreSQL has never heard. */
  unknown_workflows: string[];
}

/** A payment that nobody will settle, with its reservation. */
export interface OrphanedPayment extends SeatsOfReservation {
  user_id: string;
  fence: string;
  price: number;
  currency: string;
  /** Null where the hold was taken again for a late payment that had not begun. */
  booking_id: string | null;
  is_booked: boolean;
}

export interface Inspection {
  faults: EventFaults;
  orphans: OrphanedPayment[];
  stale: SeatsOfReservation[];
  /** Seats that Redis refuses as sold, and PostgreSQL has not sold. */
  unsold: string[];
  /** Seats that are sold, which Redis does not know. */
  unnoted: string[];
  /** Why something could not be looked at; there may be more faults then. */
  failures: unknown[];
}

export interface Inspected {
  database: Pool;
  redis: Redis;
  temporal: Client;
}

const OVERDUE = `
SELECT reservation_id FROM reservations
WHERE event_id = $1 AND status = 'HELD' AND release_at < now() - make_interval(secs => $2)`;

/** In no order, so that those which are only slow do not hide the others for ever. */
const SLOW_PAYMENTS = `
WITH paying AS (
  SELECT reservation_id FROM reservations WHERE event_id = $1 AND status = 'HELD' AND release_at IS NULL
  UNION
  SELECT reservation_id FROM bookings JOIN reservations USING (reservation_id)
  WHERE bookings.status = 'PENDING' AND event_id = $1
)
SELECT reservation_id, event_id, reservations.user_id, seat_ids, fence, reservations.price, reservations.currency,
       booking_id,
       EXISTS (SELECT FROM seats WHERE seat_id = ANY(seat_ids)
               AND seats.reservation_id = paying.reservation_id AND seats.status = 'BOOKED') AS is_booked
FROM paying JOIN reservations USING (reservation_id)
     LEFT JOIN (SELECT * FROM bookings WHERE status = 'PENDING') AS pending USING (reservation_id)
WHERE coalesce(pending.created_at, expires_at) < now() - make_interval(secs => $2)
ORDER BY random() LIMIT $3`;

/** Compares one event in all four stores. One that does not answer in time does not keep it from the others. */
export async function inspectEvent(
  inspected: Inspected,
  eventId: string,
  patienceSeconds = PATIENCE_SECONDS,
): Promise<Inspection> {
  const failures: unknown[] = [];
  async function look<T>(at: Promise<T>, otherwise: T): Promise<T> {
    try {
      return await at;
    } catch (error) {
      failures.push(error);
      return otherwise;
    }
  }
  const overdue_holds = await look(findOverdue(inspected, eventId, patienceSeconds), []);
  const orphans = await look(findOrphans(inspected, eventId, patienceSeconds), []);
  const { stale, missing_locks } = await look(compareLocks(inspected, eventId), { stale: [], missing_locks: [] });
  const { unsold, unnoted } = await look(compareSold(inspected, eventId), { unsold: [], unnoted: [] });
  const stored = await look(findStoredFaults(inspected.database, eventId, patienceSeconds), NO_FAULTS);
  const unknown_workflows = await look(findUnknownWorkflows(inspected, eventId, patienceSeconds), []);
  return {
    faults: {
      ...stored,
      overdue_holds,
      orphaned_payments: orphans.map(({ reservation_id }) => reservation_id),
      stale_locks: [...stale.flatMap(({ seat_ids }) => seat_ids), ...unsold],
      missing_locks,
      unknown_workflows,
    },
    orphans,
    stale,
    unsold,
    unnoted,
    failures,
  };
}

async function findOverdue({ database }: Inspected, eventId: string, patienceSeconds: number): Promise<string[]> {
  const { rows } = await database.query<{ reservation_id: string }>(OVERDUE, [eventId, patienceSeconds]);
  return rows.map(({ reservation_id }) => reservation_id);
}

async function findOrphans(
  { database, temporal }: Inspected,
  eventId: string,
  patienceSeconds: number,
): Promise<OrphanedPayment[]> {
  const slowPayments = async () =>
    (await database.query<OrphanedPayment>(SLOW_PAYMENTS, [eventId, patienceSeconds, MAX_LOOK_UPS])).rows;
  const slow = await slowPayments();
  const gone = await findGone(
    temporal,
    slow.map(({ reservation_id }) => reservation_id),
  );
  return gone.size === 0 ? [] : (await slowPayments()).filter(({ reservation_id }) => gone.has(reservation_id));
}

/**
 * Which of the reservations have no open workflow, each asked for by its id: a list would lag behind. An id is never
 * used again, so none can appear afterwards; but one that has just ended did so by itself, so look again at what it had.
 */
async function findGone({ workflow, connection }: Client, reservationIds: string[]): Promise<Set<string>> {
  const isGone = async (reservationId: string) => {
    try {
      const { closeTime } = await connection.withDeadline(Date.now() + TEMPORAL_DEADLINE_MS, () =>
        workflow.getHandle(reservationId).describe(),
      );
      return closeTime !== undefined;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return true;
      throw error;
    }
  };
  const gone = new Set<string>();
  for (const ids of inBatches(reservationIds.slice(0, MAX_LOOK_UPS), LOOK_UPS_AT_ONCE)) {
    const answers = await Promise.all(ids.map(isGone));
    ids.filter((_, i) => answers[i]).forEach((id) => gone.add(id));
  }
  return gone;
}

/** A lock is set before its hold and deleted after it, so what is amiss must be so in PostgreSQL before and after. */
async function compareLocks({ database, redis, temporal }: Inspected, event_id: string) {
  const { rows: held } = await database.query<{ seat_id: string; holder: string }>(
    `SELECT seat_id, reservation_id AS holder FROM seats
     WHERE event_id = $1 AND status = 'HELD' AND reservation_id IS NOT NULL`,
    [event_id],
  );
  const { rows: all } = await database.query<{ seat_ids: string | null }>( // fifty thousand rows would take longer
    `SELECT string_agg(seat_id, E'\n') AS seat_ids FROM seats WHERE event_id = $1`,
    [event_id],
  );
  const locks = await readLocks(redis, event_id, all[0]?.seat_ids?.split('\n') ?? []);
  const unlocked = held.filter(({ seat_id, holder }) => locks.get(seat_id) !== holder);
  const owners = [...new Set(locks.values())];
  const { rows } = await database.query<{ missing: string[]; ended: string[] }>(
    `SELECT array(SELECT seat_id FROM unnest($1::varchar[], $2::varchar[]) AS it (seat_id, holder)
                  JOIN seats USING (seat_id) WHERE seats.status = 'HELD' AND seats.reservation_id = it.holder
            ) AS missing,
            array(SELECT owner FROM unnest($3::varchar[]) AS owner
                  WHERE owner NOT IN (SELECT reservation_id FROM reservations WHERE reservation_id = ANY($3) AND status = 'HELD')
            ) AS ended`,
    [unlocked.map(({ seat_id }) => seat_id), unlocked.map(({ holder }) => holder), owners],
  );
  const gone = await findGone(temporal, rows[0]?.ended ?? []);
  const suspects = [...locks].filter(([, owner]) => gone.has(owner)).map(([seat_id]) => seat_id);
  const stale: SeatsOfReservation[] = [];
  for (const [seat_id, reservation_id] of await readLocks(redis, event_id, suspects)) {
    if (gone.has(reservation_id)) stale.push({ event_id, reservation_id, seat_ids: [seat_id] });
  }
  return { stale, missing_locks: rows[0]?.missing ?? [] };
}

/**
 * A seat is noted as sold once it is BOOKED, which it stays: unless a database was restored, or a seat taken back. The
 * note is missing where Redis lost it, or forgot it because the event is over; a payment that is under way may still give
 * its seats back.
 */
async function compareSold({ database, redis }: Inspected, eventId: string) {
  const { rows } = await database.query<{ unsold: string[]; unnoted: string[] }>(
    `SELECT array(SELECT seat_id FROM unnest($1::varchar[]) AS seat_id
                  WHERE seat_id NOT IN (SELECT seat_id FROM seats WHERE event_id = $2 AND status = 'BOOKED')
            ) AS unsold,
            array(SELECT seat_id FROM events JOIN seats USING (event_id) JOIN reservations USING (reservation_id)
                  WHERE events.event_id = $2 AND ${IS_ON_SALE} AND seats.status = 'BOOKED' AND reservations.status = 'CONFIRMED'
                    AND seat_id NOT IN (SELECT unnest($1::varchar[]))
            ) AS unnoted`,
    [await redis.smembers(bookedSeats(eventId)), eventId],
  );
  return rows[0] ?? { unsold: [], unnoted: [] };
}

/** By seat, the reservation that has locked it. */
async function readLocks(redis: Redis, eventId: string, seatIds: string[]): Promise<Map<string, string>> {
  const locks = new Map<string, string>();
  for (const batch of inBatches(seatIds, LOCKS_AT_ONCE)) {
    const owners = await redis.mget(batch.map((seatId) => seatLock(eventId, seatId)));
    for (const [i, seatId] of batch.entries()) if (owners[i]) locks.set(seatId, owners[i]);
    await delay(PAUSE_MS);
  }
  return locks;
}

/** Counted first: there is one to find only where more of some age are open than reservations as old are HELD. */
async function findUnknownWorkflows(
  { database, temporal }: Inspected,
  eventId: string,
  patienceSeconds: number,
): Promise<string[]> {
  const { workflow, connection } = temporal;
  const started = new Date(Date.now() - patienceSeconds * 1_000).toISOString();
  const query = `WorkflowType = 'reservation' AND ExecutionStatus = 'Running' AND EventId = ${quoted(eventId)} AND StartTime < '${started}'`;
  return connection.withDeadline(Date.now() + TEMPORAL_DEADLINE_MS, async () => {
    const { count } = await workflow.count(query);
    const { rows } = await database.query<{ held: string }>(
      `SELECT count(*) AS held FROM reservations WHERE event_id = $1 AND status = 'HELD' AND created_at < $2`,
      [eventId, started],
    );
    if (count <= Number(rows[0]?.held)) return [];
    const open: string[] = [];
    for await (const { workflowId } of workflow.list({ query, pageSize: MAX_LOOK_UPS })) {
      if (open.push(workflowId) >= MAX_LOOK_UPS) break;
    }
    const { rows: known } = await database.query<{ reservation_id: string }>(
      `SELECT reservation_id FROM reservations WHERE reservation_id = ANY($1)`,
      [open],
    );
    const isKnown = new Set(known.map(({ reservation_id }) => reservation_id));
    const unknown = open.filter((id) => !isKnown.has(id));
    const gone = await findGone(temporal, unknown);
    return unknown.filter((id) => !gone.has(id));
  });
}

const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

function* inBatches<T>(items: T[], size: number): Generator<T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}
