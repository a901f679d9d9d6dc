import type { Logger } from 'pino';
import { PATIENCE_SECONDS, inspectEvent, type Inspected, type OrphanedPayment } from '../audit/inspect.ts';
import { expireDue } from './seat-holds.ts';
import type { SeatLocks } from './seat-locks.ts';

export type { OrphanedPayment };

/** So many payments are healed by one audit; the next one goes on. */
const MAX_HEALED = 200;

const SAVE = `
INSERT INTO audits (event_id, audited_at, faults, locks_deleted) VALUES ($1, now(), $2, $3)
ON CONFLICT (event_id) DO UPDATE
SET audited_at = excluded.audited_at, faults = excluded.faults,
    locks_deleted = audits.locks_deleted + excluded.locks_deleted`;

const NOTE_HEALED = `
UPDATE reservations SET healed_at = now() WHERE reservation_id = ANY($1) AND healed_at IS NULL`;

/** Compares the stores, heals what is safe to, and notes the rest. Every step may be repeated, also side by side. */
export function createAudits(inspected: Inspected, locks: SeatLocks, log: Logger, patienceSeconds = PATIENCE_SECONDS) {
  const { database } = inspected;

  async function noteHealed(reservationIds: string[]): Promise<void> {
    await database.query(NOTE_HEALED, [reservationIds]);
  }

  return {
    /**
     * Audits one event: frees the holds that are overdue, deletes the locks of reservations that have ended, rights the
     * notes of which seats are sold, and answers the payments that nobody will settle. Money is never moved here, and no
     * lock is put back: its hold may have ended.
     */
    async auditEvent(event_id: string): Promise<OrphanedPayment[]> {
      const inspection = await inspectEvent(inspected, event_id, patienceSeconds);
      const { faults, orphans, stale, unsold, unnoted, failures } = inspection;
      if (faults.overdue_holds.length > 0) {
        const expire = () => expireDue(database, locks, event_id);
        for (let due = await expire(); due.length > 0; due = await expire()) await noteHealed(due);
      }
      for (const seats of stale) await locks.unlock(seats);
      if (unsold.length > 0) await locks.forgetSold(event_id, unsold);
      if (unnoted.length > 0) await locks.noteSold(event_id, unnoted);
      const counts = Object.entries(faults).map(([kind, ids]) => [kind, ids.length] as const);
      if (counts.some(([, count]) => count > 0)) {
        log.warn({ event_id, ...Object.fromEntries(counts) }, 'the audit found faults');
      }
      if (failures.length > 0) log.warn({ event_id, err: failures[0] }, 'the audit could not see everything');
      else {
        await database.query(SAVE, [event_id, Object.fromEntries(counts), faults.stale_locks.length]);
      }
      return orphans.slice(0, MAX_HEALED);
    },

    noteHealed: ({ reservation_id }: { reservation_id: string }) => noteHealed([reservation_id]),
  };
}

export type Audits = ReturnType<typeof createAudits>;
