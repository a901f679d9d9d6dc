/** What is measured, each part a process of its own: services, and the product or the floors. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { ENVIRONMENT, FAST_WORKFLOWS, HEAP_LIMIT } from '../dev/as-in-production.ts';
import { DataDir } from '../dev/data-dir.ts';
import { freePort } from '../dev/ports.ts';
import { startServices, type Services } from '../dev/services.ts';
import { saysReady } from '../dev/supervise.ts';

const READY_WITHIN_MS = 60_000;

const ServicePids = Type.Object({ pids: Type.Record(Type.String(), Type.Number()) });

/** A process that serves at its URL. */
export interface Part {
  pid: number;
  url: string;
  stop(): Promise<void>;
}

export interface Stage {
  services: Services;
  /** PostgreSQL, Redis and Temporal. */
  pids: Record<string, number>;
  /** Starts one of the programs of dist/. */
  run(program: string, settings?: Record<string, string>): Promise<Part>;
  stop(): Promise<void>;
}

/** Starts the services in a folder of their own, with the durability that production has. */
export async function openStage(log: (line: string) => void): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const dataDir = await DataDir.acquire(folder, log);
  const services = await startServices({ dataDir, log });
  const removeFolder = () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.once('exit', removeFolder); // by then they were killed
  const { pids } = Value.Parse(ServicePids, JSON.parse(await readFile(join(folder, 'services.json'), 'utf8')));

  async function run(program: string, settings: Record<string, string> = {}): Promise<Part> {
    const port = await freePort();
    const fast = process.env['FAST_WORKFLOWS'] === 'off' ? [] : FAST_WORKFLOWS;
    const file = fileURLToPath(new URL(`../${program}`, import.meta.url));
    const child = spawn(process.execPath, [HEAP_LIMIT, ...fast, file], {
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: {
        ...process.env,
        PORT: String(port),
        DATABASE_URL: services.database_url,
        REDIS_URL: services.redis_url,
        TEMPORAL_ADDRESS: services.temporal_address,
        LOG_LEVEL: 'error',
        ...ENVIRONMENT,
        ...settings,
      },
    });
    const ended = once(child, 'exit');
    await Promise.race([
      saysReady(child, AbortSignal.timeout(READY_WITHIN_MS)),
      ended.then(() => Promise.reject(new Error(`${program} ended before it was ready`))),
    ]);
    return {
      pid: child.pid ?? 0,
      url: `http://127.0.0.1:${port}`,
      async stop() {
        child.kill('SIGTERM');
        await ended;
      },
    };
  }

  return {
    services,
    pids,
    run,
    async stop() {
      await services.stop();
      await dataDir.release();
      removeFolder();
      process.off('exit', removeFolder);
    },
  };
}
