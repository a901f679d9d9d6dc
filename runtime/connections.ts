/** Connections to the three services, each with a deadline on everything that waits. */
import { Redis } from 'ioredis';
import pg from 'pg';
import type { Logger } from './logger.ts';

/** What a statement may take; the hold step's own deadline is longer, so that PostgreSQL gives up first. */
const STATEMENT_TIMEOUT_MS = 1_800;
/** What a connection and an answer may take: a little longer, for the server to say itself that it gave up. */
const POSTGRES_TIMEOUT_MS = 2_000;
/** Redis only makes a refusal fast: past this it is quicker to ask PostgreSQL. */
const REDIS_COMMAND_TIMEOUT_MS = 250;

/** A service that a start needs, and is not there; its message is one line that says how to mend it. */
export class Unreachable extends Error {
  override name = 'Unreachable';
}

/** What `connect` answers. @throws Unreachable where it fails: the service, why, and the setting that says where it is */
export async function reach<T>(service: string, setting: string, connect: () => Promise<T>): Promise<T> {
  try {
    return await connect();
  } catch (error) {
    const [cause] = error instanceof AggregateError ? error.errors : [error]; // of localhost, which is two addresses
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Unreachable(`${service} cannot be reached (${reason}): start it, or set ${setting} to where it runs`);
  }
}

/**
 * A named statement is planned once for each connection: left to itself, PostgreSQL plans a hold anew each time, which
 * takes as long as the hold. What is planned while a table has few rows must be good for many, so: by an index.
 */
const PLANNED_ONCE = ['plan_cache_mode=force_generic_plan', 'enable_seqscan=off', 'jit=off'];

/**
 * A pool of at most `max` connections. Statements and waits for a connection end after 2 s.
 * @param byKey whether the statements find few rows each, by an index
 */
export function connectPostgres(databaseUrl: string, max: number, log: Logger, { byKey = false } = {}): pg.Pool {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    ...(byKey && { options: PLANNED_ONCE.map((setting) => `-c ${setting}`).join(' ') }),
    max,
    connectionTimeoutMillis: POSTGRES_TIMEOUT_MS,
    query_timeout: POSTGRES_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: 10_000,
    application_name: 'holdfast',
  });
  pool.on('error', (error) => log.warn({ err: error }, 'an idle connection to PostgreSQL was lost'));
  return pool;
}

/** A connection on which nothing comes for so long is dead: another one is made. */
const REDIS_SILENCE_MS = 2_000;

/** A client that fails a command at once while Redis is away, and after 250 ms when it does not answer. */
export function connectRedis(redisUrl: string, log: Logger): Redis {
  const redis = new Redis(redisUrl, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: REDIS_COMMAND_TIMEOUT_MS,
    socketTimeout: REDIS_SILENCE_MS,
    connectTimeout: 2_000,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1_000),
  });
  redis.on('error', (error) => log.warn({ err: error }, 'Redis is not reachable'));
  return redis;
}
