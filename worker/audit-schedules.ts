import { createHash } from 'node:crypto';
import { ScheduleAlreadyRunning, ScheduleNotFoundError, type Client, type ScheduleOptions } from '@temporalio/client';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import { IS_ON_SALE } from '../audit/on-sale.ts';
import { bookedSeats, seatChanges } from '../domain/redis-keys.ts';
import type { Logger } from '../runtime/logger.ts';
import { TaskQueues } from '../workflows/messages.ts';

/** The seats of a terminated reservation are to be free within 60 s of its deadline; the audit lets 15 of them pass. */
const AUDIT_EVERY_MS = 30_000;

/** How soon an event that was added gets its audits. */
const RENEW_EVERY_MS = 30_000;

/** Of more events on sale at once, those that come first get their audits; nobody loses them before it is over. */
const MAX_EVENTS = 1_000;

const TEMPORAL_DEADLINE_MS = 10_000;
const PREFIX = 'audit:';

const ON_SALE = `SELECT event_id FROM events WHERE ${IS_ON_SALE} ORDER BY date, event_id LIMIT $1`;

/** Of events, those that are over or gone. */
const OVER = `
SELECT event_id FROM unnest($1::varchar[]) AS event_id
WHERE event_id NOT IN (SELECT events.event_id FROM events WHERE ${IS_ON_SALE})`;

interface Stores {
  temporal: Client;
  database: Pool;
  redis: Redis;
}

/**
 * Gives each event on sale its schedule. Those of events that are over go, and what Redis keeps of these. Several workers
 * may do so at once.
 * @param stopping rejects before the next call to Temporal: a thousand of them take longer than a stop may
 */
export async function renewAuditSchedules(
  { temporal: { schedule, connection }, database, redis }: Stores,
  everyMs = AUDIT_EVERY_MS,
  stopping?: AbortSignal,
): Promise<void> {
  async function ask<T>(call: () => Promise<T>): Promise<T> {
    stopping?.throwIfAborted();
    return connection.withDeadline(Date.now() + TEMPORAL_DEADLINE_MS, call);
  }
  const audited = new Set<string>();
  await ask(async () => {
    for await (const { scheduleId } of schedule.list()) {
      if (scheduleId.startsWith(PREFIX)) audited.add(scheduleId.slice(PREFIX.length));
    }
  });
  const { rows: over } = await database.query<{ event_id: string }>(OVER, [[...audited]]);
  for (const { event_id } of over) {
    await redis.unlink(bookedSeats(event_id), seatChanges(event_id)); // first: while Redis is away the schedule stays
    await ask(() => schedule.getHandle(PREFIX + event_id).delete()).catch(unless(ScheduleNotFoundError));
  }
  const { rows: onSale } = await database.query<{ event_id: string }>(ON_SALE, [MAX_EVENTS]);
  for (const { event_id } of onSale) {
    if (audited.has(event_id)) continue;
    await ask(() => schedule.create(auditSchedule(event_id, everyMs))).catch(unless(ScheduleAlreadyRunning));
  }
}

/** Audits of many events are spread over the time between two of one. */
const auditSchedule = (eventId: string, everyMs: number): ScheduleOptions => ({
  scheduleId: PREFIX + eventId,
  spec: {
    intervals: [{ every: everyMs, offset: createHash('sha256').update(eventId).digest().readUInt32BE() % everyMs }],
  },
  policies: { overlap: 'SKIP', catchupWindow: everyMs },
  action: {
    type: 'startWorkflow',
    workflowType: 'audit',
    workflowId: PREFIX + eventId,
    args: [eventId],
    taskQueue: TaskQueues.audits,
    workflowExecutionTimeout: 2 * AUDIT_EVERY_MS,
  },
});

const unless = (expected: new (...of: never[]) => Error) => (error: unknown) => {
  if (!(error instanceof expected)) throw error;
};

/** Renews the schedules now and every half minute, until it is stopped. */
export function keepAuditSchedules(stores: Stores, log: Logger): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const renew = () =>
    renewAuditSchedules(stores, AUDIT_EVERY_MS, stopping.signal).catch((error: unknown) =>
      log.warn({ err: error }, 'the schedules of audits could not be renewed'),
    );
  let renewing = renew();
  const timer = setInterval(() => {
    renewing = renewing.then(renew);
  }, RENEW_EVERY_MS);
  return {
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await renewing;
    },
  };
}
