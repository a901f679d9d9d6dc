/** PostgreSQL, Redis and Temporal on this machine, for `npm start` and for the tests. */
import type { SpawnOptions } from 'node:child_process';
import { openSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { Connection } from '@temporalio/client';
import { Redis } from 'ioredis';
import { reach } from '../runtime/connections.ts';
import type { DataDir } from './data-dir.ts';
import { freePort } from './ports.ts';
import { databaseAnswers, postgresAnswers, preparePostgres } from './postgres.ts';
import { supervise, until, type Log, type Program, type Stoppable } from './supervise.ts';
import { findRedis, findTemporal } from './tools.ts';

const READY_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 10_000;
const PROBE_TIMEOUT_MS = 5_000;
const SEARCH_ATTRIBUTES = ['EventId', 'UserId', 'ReservationStatus'];

/** What to start, and in which folder. */
export interface ServicesOptions {
  dataDir: DataDir;
  log: Log;
  /** Services that run elsewhere already: these are not started. */
  given?: {
    database_url?: string | undefined;
    redis_url?: string | undefined;
    /** Looked for, and nothing more: without it the maps are in the other Redis. */
    redis_cache_url?: string | undefined;
    temporal_address?: string | undefined;
  };
  /** Tried after the ports of the last start in this folder, and before any free port. */
  preferredPorts?: Ports;
  /** Left for others, who are about to use them. */
  portsOfOthers?: number[];
  /** Temporal's namespaces besides `default`; each gets our search attributes. */
  namespaces?: string[];
  /** Where the Temporal UI has payloads decrypted. */
  codecUrl?: string | undefined;
  /** PostgreSQL's settings beyond ours, such as `{ fsync: 'off' }` in tests. */
  postgresSettings?: Record<string, string>;
}

/** A port on this machine for each thing that listens. */
interface Ports {
  postgres: number;
  redis: number;
  temporal: number;
  temporal_ui: number;
}

/** A service that serves at its address until it is stopped. */
interface Service extends Stoppable {
  address: string;
}

/** Where the services are, those that were given included, and how to stop those that were started. */
export interface Services extends Stoppable {
  database_url: string;
  redis_url: string;
  temporal_address: string;
  temporal_ui_url: string | undefined;
}

/**
 * Starts the services that are not given, side by side, and notes their addresses in the data folder.
 * @throws StartError, Unreachable when one does not start, or is not where it was given; the others are stopped by then
 */
export async function startServices(options: ServicesOptions): Promise<Services> {
  const { database_url, redis_url, redis_cache_url, temporal_address } = options.given ?? {};
  const ports = await choosePorts(options);
  const starts = [
    database_url
      ? elsewhere('PostgreSQL', 'DATABASE_URL', database_url, postgresAnswers)
      : startPostgres(options, ports.postgres),
    redis_url ? elsewhere('Redis', 'REDIS_URL', redis_url, redisAnswers) : startRedis(options, ports.redis),
    temporal_address
      ? elsewhere('Temporal', 'TEMPORAL_ADDRESS', temporal_address, temporalAnswers)
      : startTemporal(options, ports.temporal, ports.temporal_ui),
  ] as const;
  const stop = async () => {
    const settled = await Promise.allSettled(starts);
    await Promise.all(settled.map(async (start) => start.status === 'fulfilled' && start.value.stop()));
  };
  try {
    const cache = redis_cache_url && elsewhere('Redis', 'REDIS_CACHE_URL', redis_cache_url, redisAnswers);
    const [postgres, redis, temporal] = await Promise.all([...starts, cache]);
    return {
      database_url: postgres.address,
      redis_url: redis.address,
      temporal_address: temporal.address,
      temporal_ui_url: temporal_address ? undefined : uiUrl(ports.temporal_ui),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A service that runs already, at the address that a setting gives. */
async function elsewhere(
  name: string,
  setting: string,
  address: string,
  answers: (address: string) => Promise<void>,
): Promise<Service> {
  await reach(name, setting, () => answers(address));
  return { address, stop: async () => undefined };
}

const uiUrl = (port: number) => `http://127.0.0.1:${port}`;

/** Starts PostgreSQL with the database `holdfast`. */
async function startPostgres(options: ServicesOptions, port: number): Promise<Service> {
  const folder = options.dataDir.file('postgres');
  const { databaseUrl, ...server } = await preparePostgres(folder, port, options.postgresSettings ?? {});
  const { stop } = await supervise({
    ...serviceProgram(options, 'PostgreSQL', server.command, server.options),
    stopSignal: 'SIGINT', // SIGTERM would wait for clients to leave
    ready: (_child, signal) => until(() => databaseAnswers(databaseUrl), signal),
  });
  options.dataDir.note({ database_url: databaseUrl });
  return { address: databaseUrl, stop };
}

/** Starts Redis, which keeps what it was told: on disk within a second, and none of it evicted. */
async function startRedis(options: ServicesOptions, port: number): Promise<Service> {
  const folder = options.dataDir.file('redis');
  await mkdir(folder, { recursive: true });
  const settings = {
    bind: '127.0.0.1',
    port: String(port),
    dir: folder,
    databases: '256',
    appendonly: 'yes',
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
    'set-proc-title': 'no', // the folder in the command line is how a leftover is recognised
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const redisUrl = `redis://127.0.0.1:${port}`;
  const { stop } = await supervise({
    ...serviceProgram(options, 'Redis', [await findRedis(options.log), ...flags], {}),
    ready: (_child, signal) => until(() => redisAnswers(redisUrl), signal),
  });
  options.dataDir.note({ redis_url: redisUrl });
  return { address: redisUrl, stop };
}

/** Starts Temporal's dev server with its UI. */
async function startTemporal(options: ServicesOptions, port: number, uiPort: number): Promise<Service> {
  const { dataDir, log, namespaces = [], codecUrl } = options;
  const address = `127.0.0.1:${port}`;
  const flags = [
    ['--log-level', 'warn'],
    ['--ip', '127.0.0.1'],
    ['--port', String(port)],
    ['--ui-port', String(uiPort)],
    ['--db-filename', dataDir.file('temporal.db')],
    // A log ahead of the file: as durable as SQLite's default, for a quarter of the waits for the disk.
    ...['journal_mode=wal', 'synchronous=full'].map((pragma) => ['--sqlite-pragma', pragma]),
    ...(codecUrl === undefined ? [] : [['--ui-codec-endpoint', codecUrl]]),
    ...namespaces.map((namespace) => ['--namespace', namespace]),
    ...SEARCH_ATTRIBUTES.map((attribute) => ['--search-attribute', `${attribute}=Keyword`]),
    // Saves reading the attributes back on every request; GOGC below saves collecting garbage so often.
    ['--dynamic-config-value', 'system.forceSearchAttributesCacheRefreshOnRead=false'],
  ];
  const command: Program['command'] = [await findTemporal(log), 'server', 'start-dev', ...flags.flat()];
  const { stop } = await supervise({
    ...serviceProgram(options, 'Temporal', command, { env: { ...process.env, GOGC: '800' } }),
    ready: (_child, signal) => until(() => temporalAnswers(address, ['default', ...namespaces]), signal),
  });
  dataDir.note({ temporal_address: address, temporal_ui_url: uiUrl(uiPort) });
  return { address, stop };
}

function serviceProgram(
  { dataDir, log }: ServicesOptions,
  name: string,
  command: Program['command'],
  options: SpawnOptions,
): Omit<Program, 'ready'> {
  const logFile = dataDir.file(`${name.toLowerCase()}.log`);
  const output = openSync(logFile, 'a', 0o600);
  return {
    name,
    command,
    options: { ...options, stdio: ['ignore', output, output] },
    readyWithinMs: READY_WITHIN_MS,
    stopSignal: 'SIGTERM',
    stopWithinMs: STOP_WITHIN_MS,
    onSpawn: (pid) => dataDir.notePid(name, pid),
    hint: `see ${logFile}`,
    log,
  };
}

async function redisAnswers(url: string): Promise<void> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: PROBE_TIMEOUT_MS,
    commandTimeout: PROBE_TIMEOUT_MS,
    retryStrategy: () => null,
  });
  let reason: unknown; // which the client tells apart from the failure
  redis.on('error', (error) => (reason = error));
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    throw reason ?? error;
  } finally {
    redis.disconnect();
  }
}

/** The server answers a moment before it has the search attributes, so these are what is asked for. */
async function temporalAnswers(address: string, namespaces: string[] = []): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: PROBE_TIMEOUT_MS });
  try {
    await connection.withDeadline(Date.now() + PROBE_TIMEOUT_MS, async () => {
      for (const namespace of namespaces) {
        const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
        const missing = SEARCH_ATTRIBUTES.filter((attribute) => customAttributes[attribute] === undefined);
        if (missing.length > 0) throw new Error(`${namespace} lacks ${missing.join(', ')}`);
      }
    });
  } finally {
    await connection.close();
  }
}

/** Ports stay the same from start to start where they can, so that clients set up by hand keep working. */
async function choosePorts({ dataDir, preferredPorts, portsOfOthers = [] }: ServicesOptions): Promise<Ports> {
  const path = dataDir.file('ports.json');
  const last: Partial<Ports> = await readFile(path, 'utf8')
    .then(JSON.parse)
    .catch(() => ({}));
  const chosen = [...portsOfOthers];
  const choose = async (name: keyof Ports) => {
    const preferred = [last[name], preferredPorts?.[name]].filter((port) => port !== undefined);
    const port = await freePort(preferred, chosen);
    chosen.push(port);
    return port;
  };
  const ports = {
    postgres: await choose('postgres'),
    redis: await choose('redis'),
    temporal: await choose('temporal'),
    temporal_ui: await choose('temporal_ui'),
  };
  await writeFile(path, JSON.stringify(ports));
  return ports;
}
