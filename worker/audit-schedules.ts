import { createHash } from 'node:crypto';
import { ScheduleAlreadyRunning, ScheduleNotFoundError, type Client, type ScheduleOptions } from '@temporalio/client';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import { IS_ON_SALE } from '../audit/on-sale.ts';
import { bookedSeats, seatChanges } from '../domain/redis-keys.ts';
import type { Logger } from '../runtime/logger.ts';
import { TaskQueues } from '../workflows/messages.ts';

/** What a terminated reservation had is free again 60 s after its deadline, with some to spare. */
const AUDIT_EVERY_MS = 30_000;

/** How soon an event that was added gets its audits. */
const RENEW_EVERY_MS = 30_000;

/** Of more events on sale at once, those that come first are audited. */
const MAX_EVENTS = 1_000;

const TEMPORAL_DEADLINE_MS = 10_000;
const PREFIX = 'audit:';

const ON_SALE = `SELECT event_id FROM events WHERE ${IS_ON_SALE} ORDER BY date, event_id LIMIT $1`;

interface Stores {
  temporal: Client;
  database: Pool;
  redis: Redis;
}

/**
 * Gives each event on sale its schedule. Those of events that are over go, and what Redis keeps of these. Several workers
 * may do so at once.
 */
export async function renewAuditSchedules(
  { temporal: { schedule, connection }, database, redis }: Stores,
  everyMs = AUDIT_EVERY_MS,
): Promise<void> {
  const { rows } = await database.query<{ event_id: string }>(ON_SALE, [MAX_EVENTS]);
  const wanted = new Map(rows.map(({ event_id }) => [PREFIX + event_id, event_id]));
  await connection.withDeadline(Date.now() + TEMPORAL_DEADLINE_MS, async () => {
    const over: string[] = [];
    for await (const { scheduleId } of schedule.list()) {
      if (scheduleId.startsWith(PREFIX) && !wanted.delete(scheduleId)) over.push(scheduleId);
    }
    for (const [scheduleId, eventId] of wanted) {
      await schedule.create(auditSchedule(scheduleId, eventId, everyMs)).catch(unless(ScheduleAlreadyRunning));
    }
    for (const scheduleId of over) {
      const eventId = scheduleId.slice(PREFIX.length);
      await redis.unlink(bookedSeats(eventId), seatChanges(eventId)); // first: while Redis is away the schedule stays
      await schedule.getHandle(scheduleId).delete().catch(unless(ScheduleNotFoundError));
    }
  });
}

/** Audits of many events are spread over the time between two of one. */
const auditSchedule = (scheduleId: string, eventId: string, everyMs: number): ScheduleOptions => ({
  scheduleId,
  spec: {
    intervals: [{ every: everyMs, offset: createHash('sha256').update(eventId).digest().readUInt32BE() % everyMs }],
  },
  policies: { overlap: 'SKIP', catchupWindow: everyMs },
  action: {
    type: 'startWorkflow',
    workflowType: 'audit',
    workflowId: scheduleId,
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
  const renew = () =>
    renewAuditSchedules(stores).catch((error: unknown) =>
      log.warn({ err: error }, 'the schedules of audits could not be renewed'),
    );
  let renewing = renew();
  const timer = setInterval(() => {
    renewing = renewing.then(renew);
  }, RENEW_EVERY_MS);
  return {
    async stop() {
      clearInterval(timer);
      await renewing;
    },
  };
}
