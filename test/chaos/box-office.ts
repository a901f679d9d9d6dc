/**
 * The product to be hurt: services, worker and API as processes that are started again when they die, as `npm start`
 * runs them, and between any two a proxy.
 */
import { once, EventEmitter } from 'node:events';
import { execFile, spawn } from 'node:child_process';
import { appendFileSync, openSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { Redis } from 'ioredis';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { prepareDatabase } from '../../db/prepare.ts';
import { DataDir } from '../../dev/data-dir.ts';
import { freePort } from '../../dev/ports.ts';
import { startServices } from '../../dev/services.ts';
import { saysReady, supervise, type Stoppable } from '../../dev/supervise.ts';
import { findRedis } from '../../dev/tools.ts';
import { connectPostgres, connectRedis } from '../../runtime/connections.ts';
import { createLogger } from '../../runtime/logger.ts';
import { NOTHING_SET, descendantsOf } from '../support/command.ts';
import { until } from '../support/until.ts';
import { WEBHOOK_SECRET } from './gateway.ts';
import { openProxy, type Proxy } from './proxy.ts';

/** Every process of the product, by the name under which it is supervised. */
export const PROCESSES = ['api', 'worker', 'PostgreSQL', 'Redis', 'Temporal'] as const;
export type ProcessName = (typeof PROCESSES)[number];

const BACK_WITHIN_MS = 60_000;
const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 25_000;
/** Room for PostgreSQL's files and the write-ahead log below; what is left of it can be filled up. */
const SMALL_DISK = '320m';
const SMALL_LOG = { max_wal_size: '64MB', min_wal_size: '32MB' };

const Record = Type.Object({ pids: Type.Record(Type.String(), Type.Integer()) });

const run = promisify(execFile);
const log = createLogger('chaos', 'silent');

export type BoxOffice = Awaited<ReturnType<typeof openBoxOffice>>;

/** @param holdSeconds how long a hold lasts in it */
export async function openBoxOffice(holdSeconds: number) {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-chaos-'));
  const started: Stoppable[] = [{ stop: () => rm(folder, { recursive: true, force: true }) }];
  const stop = async () => {
    for (let last = started.pop(); last; last = started.pop()) await last.stop();
  };
  try {
    return await open();
  } catch (error) {
    await stop();
    throw error;
  }

  async function open() {
    /** Each line that a supervisor says, as an event of its own: `worker is back`. */
    const said = new EventEmitter();
    const say = (line: string) => {
      appendFileSync(join(folder, 'supervisor.log'), `${new Date().toISOString()} ${line}\n`);
      said.emit(line);
    };
    const hasSmallDisk = await mountSmallDisk(join(folder, 'postgres'));
    if (hasSmallDisk) started.push({ stop: async () => void (await run('umount', [join(folder, 'postgres')])) });
    const dataDir = await DataDir.acquire(folder, say);
    const services = await startServices({ dataDir, log: say, postgresSettings: SMALL_LOG });
    started.push(services);
    await prepareDatabase(services.database_url, 'off');

    const portOf = (url: string) => Number(new URL(url).port);
    const redisPort = portOf(services.redis_url);
    const openLinks = async () => ({
      PostgreSQL: await openProxy(portOf(services.database_url)),
      Redis: await openProxy(redisPort),
      Temporal: await openProxy(portOf(`http://${services.temporal_address}`)),
    });
    const links = { api: await openLinks(), worker: await openLinks(), auditor: { Redis: await openProxy(redisPort) } };
    const proxies: Proxy[] = Object.values(links).flatMap((of) => Object.values(of));
    started.push({ stop: async () => void (await Promise.all(proxies.map((proxy) => proxy.close()))) });

    const port = await freePort();
    for (const name of ['worker', 'api'] as const) {
      const { PostgreSQL, Redis: locks, Temporal } = links[name];
      const program = name === 'api' ? 'dist/api/server.js' : 'dist/worker/main.js';
      started.push(
        await startProgram(dataDir, name, program, say, {
          PORT: String(port),
          HOLD_SECONDS: String(holdSeconds),
          WEBHOOK_SECRET,
          DATABASE_URL: Object.assign(new URL(services.database_url), { port: String(PostgreSQL.port) }).href,
          REDIS_URL: `redis://127.0.0.1:${locks.port}`,
          TEMPORAL_ADDRESS: `127.0.0.1:${Temporal.port}`,
        }),
      );
    }

    const database = connectPostgres(services.database_url, 4, log);
    const redis = connectRedis(`redis://127.0.0.1:${links.auditor.Redis.port}`, log);
    const connection = await Connection.connect({ address: services.temporal_address });
    started.push({
      async stop() {
        redis.disconnect();
        await Promise.all([database.end(), connection.close()]);
      },
    });

    async function pidOf(name: ProcessName): Promise<number> {
      const { pids } = Value.Parse(Record, JSON.parse(await readFile(dataDir.file('services.json'), 'utf8')));
      const pid = pids[name];
      if (pid === undefined) throw new Error(`${name} does not run`);
      return pid;
    }

    return {
      holdSeconds,
      url: `http://127.0.0.1:${port}`,
      database,
      redis,
      temporal: new Client({ connection }),
      /** Between each process of ours and each service. */
      links: { api: links.api, worker: links.worker },
      /** PostgreSQL's, where a small one was to be had. */
      disk: hasSmallDisk ? dataDir.file('postgres') : undefined,

      /** Ends a process, and returns when its successor is ready. */
      async crash(name: ProcessName, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
        const back = once(said, `${name} is back`, { signal: AbortSignal.timeout(BACK_WITHIN_MS) });
        process.kill(await pidOf(name), signal);
        await back;
      },

      /** A process stands still, and knows nothing of it when it goes on. */
      async pause(name: ProcessName, forMs: number): Promise<void> {
        const pid = await pidOf(name);
        const all = [pid, ...(await descendantsOf({ pid }))];
        const tell = (signal: NodeJS.Signals) => all.forEach((it) => isAlive(it) && process.kill(it, signal));
        tell('SIGSTOP');
        await delay(forMs).finally(() => tell('SIGCONT'));
      },

      /** Another Redis takes over with what the first one had `lagMs` ago; then the first one again, in order. */
      async failOver(lagMs: number): Promise<void> {
        const replica = await startReplica(folder, redisPort, say);
        try {
          await replica.redis.replicaof('NO', 'ONE'); // it is told nothing from here on
          await delay(lagMs);
          pointRedisAt(replica.port);
          await delay(lagMs);
          const first = new Redis(redisPort);
          await first.replicaof('127.0.0.1', replica.port);
          await until('the first Redis has caught up', () => isInSync(first), BACK_WITHIN_MS);
          await first.replicaof('NO', 'ONE');
          first.disconnect();
          pointRedisAt(redisPort);
        } finally {
          await replica.stop();
        }
      },

      /** Copies what the processes said into an existing folder. */
      async copyLogs(to: string): Promise<void> {
        for (const file of (await readdir(folder)).filter((it) => it.endsWith('.log'))) {
          await copyFile(join(folder, file), join(to, file));
        }
      },

      stop,
    };

    function pointRedisAt(target: number): void {
      for (const of of Object.values(links)) {
        of.Redis.target = target;
        of.Redis.reset();
      }
    }
  }
}

/** False where this user or this machine cannot have one. */
async function mountSmallDisk(folder: string): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return run('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK},mode=700`, 'tmpfs', folder]).then(
    () => true,
    () => false,
  );
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function startProgram(
  dataDir: DataDir,
  name: 'api' | 'worker',
  program: string,
  say: (line: string) => void,
  settings: { [name: string]: string },
): Promise<Stoppable> {
  const output = openSync(dataDir.file(`${name}.log`), 'a');
  const preload = pathToFileURL(resolve('dist/worker/fast-workflows.js')).href;
  return supervise({
    name,
    command: [process.execPath, '--import', preload, resolve(program)],
    options: {
      env: { ...process.env, ...NOTHING_SET, LOG_LEVEL: 'warn', ...settings },
      stdio: ['ignore', output, output, 'ipc'],
    },
    ready: saysReady,
    readyWithinMs: READY_WITHIN_MS,
    stopSignal: 'SIGTERM',
    stopWithinMs: STOP_WITHIN_MS,
    onSpawn: (pid) => dataDir.notePid(name, pid),
    hint: `see ${dataDir.file(`${name}.log`)}`,
    log: say,
  });
}

/** A Redis that has all that the one at `port` has. */
async function startReplica(folder: string, ofPort: number, say: (line: string) => void) {
  const port = await freePort();
  const flags = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--replicaof', `127.0.0.1 ${ofPort}`];
  const child = spawn(await findRedis(say), [...flags, '--repl-diskless-sync-delay', '0'], { cwd: folder });
  const ended = once(child, 'exit');
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const redis = new Redis(port, { retryStrategy: () => 50 });
  redis.on('error', () => undefined);
  await until('the replica is in sync', () => isInSync(redis), BACK_WITHIN_MS);
  return {
    port,
    redis,
    async stop() {
      redis.disconnect();
      kill();
      process.off('exit', kill);
      await ended;
    },
  };
}

const isInSync = async (redis: Redis) => /master_link_status:up/.test(await redis.info('replication'));
