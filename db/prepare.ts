import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import type { Config } from '../runtime/config.ts';
import { reach } from '../runtime/connections.ts';
import { seedDemoEvents } from './demo-events.ts';

/** Any number that nothing else locks on; held while one process migrates and the others wait. */
const MIGRATION_LOCK = 7_230_412;

/** The package root, from the sources and from dist/ alike. */
const migrations = fileURLToPath(
  new URL(import.meta.url.endsWith('.js') ? '../../db/migrations' : './migrations', import.meta.url),
);

/**
 * Migrates the database and, where it has no event, adds the demo events. Several processes may call it at once: one
 * works and the others wait, at most a minute.
 * @param seed whether demo events are wanted: always (`on`), when there is no event yet (`auto`), never (`off`)
 */
export async function prepareDatabase(databaseUrl: string, seed: Config['SEED_EVENTS']): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 10_000 });
  await reach('PostgreSQL', 'DATABASE_URL', () => client.connect());
  try {
    await client.query(`SET lock_timeout = '60s'`);
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await runner({
      dbClient: client,
      dir: migrations,
      direction: 'up',
      migrationsTable: 'migrations',
      noLock: true,
      log: () => undefined,
    });
    if (await wantsDemoEvents(client, seed)) await seedDemoEvents(client);
  } finally {
    await client.end();
  }
}

async function wantsDemoEvents(client: pg.Client, seed: Config['SEED_EVENTS']): Promise<boolean> {
  if (seed !== 'auto') return ['on', 'true', '1'].includes(seed);
  const { rowCount } = await client.query('SELECT 1 FROM events LIMIT 1');
  return rowCount === 0;
}
