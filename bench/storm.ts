/** Thousands of holds that run out in the same second: how late the last seat is free. */
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import type { Pool } from 'pg';
import { TaskQueues, type ReservationInput } from '../workflows/messages.ts';
import { STADIUM, stadiumSeat } from './scenarios.ts';

const AT_ONCE = 16;
/** The longest that starting them all may take. */
const PREPARE_SECONDS = 75;
const FREE_WITHIN_MS = 60_000;

/** Holds made one after the other, whose deadlines fall together. @returns when the last seat was free after it */
export async function expiryStorm(temporalAddress: string, database: Pool, holds: number): Promise<number> {
  const connection = await Connection.connect({ address: temporalAddress });
  const client = new Client({ connection });
  const deadline = Date.now() + PREPARE_SECONDS * 1_000;
  let next = 0;
  const start = async () => {
    for (let n = next++; n < holds; n = next++) {
      const input: ReservationInput = {
        event_id: STADIUM.event_id,
        user_id: `storm-${n}`,
        seat_ids: [stadiumSeat(STADIUM.seats - 1 - n)],
        hold_seconds: (deadline - Date.now()) / 1_000,
        answer_within_ms: PREPARE_SECONDS * 1_000,
      };
      await client.workflow.start('reservation', {
        workflowId: `res_storm_${n}`,
        taskQueue: TaskQueues.reservations,
        args: [input],
      });
      while (!(await isHeld(database, `res_storm_${n}`))) {
        if (Date.now() > deadline)
          throw new Error(`only ${n} of ${holds} holds in ${PREPARE_SECONDS} s: the machine is too slow`);
        await delay(5);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, start));
  await connection.close();
  await delay(deadline - Date.now());
  while ((await countHeld(database)) > 0) {
    if (Date.now() > deadline + FREE_WITHIN_MS) throw new Error(`${await countHeld(database)} holds are not free yet`);
    await delay(10);
  }
  const { rows } = await database.query<{ deadline: Date }>(
    `SELECT max(expires_at) AS deadline FROM reservations WHERE reservation_id LIKE 'res_storm_%'`,
  );
  return Date.now() - (rows[0]?.deadline.getTime() ?? 0);
}

async function isHeld(database: Pool, reservationId: string): Promise<boolean> {
  const { rowCount } = await database.query('SELECT 1 FROM reservations WHERE reservation_id = $1', [reservationId]);
  return rowCount === 1;
}

async function countHeld(database: Pool): Promise<number> {
  const { rows } = await database.query<{ held: number }>(
    `SELECT count(*)::int AS held FROM reservations WHERE status = 'HELD' AND reservation_id LIKE 'res_storm_%'`,
  );
  return rows[0]?.held ?? 0;
}
