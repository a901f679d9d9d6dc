/** A database, a Redis database and a Temporal namespace that no other test file uses. */
import { once } from 'node:events';
import { Redis } from 'ioredis';
import type pg from 'pg';
import { inject } from 'vitest';
import { createLogger } from '../../runtime/logger.ts';
import { connectPostgres, connectRedis } from '../../runtime/connections.ts';
import { runOnServer } from './on-server.ts';

export const log = createLogger('test', process.env['LOG_LEVEL'] ?? 'silent');

export interface Stores {
  databaseUrl: string;
  redisUrl: string;
  temporalAddress: string;
  namespace: string;
  database: pg.Pool;
  redis: Redis;
  close(): Promise<void>;
}

/** Takes the next number of the run, and copies the migrated database with the demo events. */
export async function openStores(): Promise<Stores> {
  const sharedRedis = new Redis(inject('redis_url'));
  const number = await sharedRedis.incr('test-files');
  sharedRedis.disconnect();

  const template = new URL(inject('template_database_url'));
  const copy = `CREATE DATABASE test_${number} TEMPLATE ${template.pathname.slice(1)} STRATEGY file_copy`;
  await runOnServer(template.href, copy);

  const databaseUrl = Object.assign(new URL(template), { pathname: `/test_${number}` }).href;
  const redisUrl = `${inject('redis_url')}/${number}`;
  const database = connectPostgres(databaseUrl, 20, log, { byKey: true });
  const redis = connectRedis(redisUrl, log);
  await once(redis, 'ready'); // until then its commands fail, and seats are held without locks
  return {
    databaseUrl,
    redisUrl,
    temporalAddress: inject('temporal_address'),
    namespace: `test-${number}`,
    database,
    redis,
    async close() {
      redis.disconnect();
      await database.end();
    },
  };
}
