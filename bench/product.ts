/** The product as it is measured: services, worker and API, each a process of its own. */
import { setTimeout as delay } from 'node:timers/promises';
import { Client as TemporalClient, Connection } from '@temporalio/client';
import { Redis } from 'ioredis';
import pg from 'pg';
import { NO_FAULTS, findFaults } from '../audit/sweep.ts';
import { prepareDatabase } from '../db/prepare.ts';
import type { Target } from './scenarios.ts';
import { openStage, type Part, type Stage } from './stage.ts';

const SETTLED_WITHIN_MS = 180_000;
/** As in a sale, holds outlive the rush: those that nobody pays for run out after what is measured, and are swept. */
export const HOLD_SECONDS = '70';

export interface Product {
  stage: Stage;
  api: Part;
  worker: Part;
  database: pg.Pool;
  redis: Redis;
  pids: Record<string, number>;
  close(): Promise<void>;
}

/** What attempts are sent to. */
export const targetOf = ({ api, pids }: Product): Target => ({ url: api.url, path: '/api/v1/reservations', pids });

export async function openProduct(progress: (line: string) => void, holdSeconds = HOLD_SECONDS): Promise<Product> {
  const stage = await openStage(progress);
  await prepareDatabase(stage.services.database_url, 'on');
  const worker = await stage.run('worker/main.js');
  const api = await stage.run('api/server.js', { HOLD_SECONDS: holdSeconds });
  const database = new pg.Pool({ connectionString: stage.services.database_url, max: 20 });
  const redis = new Redis(stage.services.redis_url);
  return {
    stage,
    api,
    worker,
    database,
    redis,
    pids: { ...stage.pids, api: api.pid, worker: worker.pid },
    async close() {
      await api.stop();
      await worker.stop();
      redis.disconnect();
      await database.end();
      await stage.stop();
    },
  };
}

/** Waits until every workflow has ended, then looks for what must not be there. The run fails where there is any. */
export async function sweep({ stage, database, redis }: Product): Promise<void> {
  const connection = await Connection.connect({ address: stage.services.temporal_address });
  const { workflow } = new TemporalClient({ connection });
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  const isSettled = async () =>
    (await workflow.count(`WorkflowType = 'reservation' AND ExecutionStatus = 'Running'`)).count === 0 &&
    (await database.query(`SELECT 1 FROM reservations WHERE status = 'HELD' LIMIT 1`)).rowCount === 0 &&
    JSON.stringify(await findFaults({ database, redis })) === JSON.stringify(NO_FAULTS);
  while (!(await isSettled())) {
    if (Date.now() > deadline) throw new Error(`not clean: ${JSON.stringify(await findFaults({ database, redis }))}`);
    await delay(500);
  }
  await connection.close();
}
