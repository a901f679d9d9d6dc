/** The Temporal server of production, persistent in PostgreSQL, in place of the dev server. Needs Go to build it once. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { freePort } from '../dev/ports.ts';
import { until } from '../dev/supervise.ts';
import { findTemporal } from '../dev/tools.ts';

const VERSION = '1.32.0';
const PROGRAMS = { server: 'go.temporal.io/server/cmd/server', sql: 'go.temporal.io/server/cmd/tools/sql' };
const BUILD_TIMEOUT_MS = 900_000;
const SCHEMA_TIMEOUT_MS = 60_000;
const READY_WITHIN_MS = 60_000;
/** As many as the dev server has; production has more. */
const HISTORY_SHARDS = 4;
const CONNECTIONS = 20;
const STORES = { temporal: 'default', visibility: 'visibility' };

const run = promisify(execFile);

async function build(progress: (line: string) => void): Promise<string> {
  const folder = resolve('.tools', `temporal-server-${VERSION}`);
  await mkdir(folder, { recursive: true });
  for (const [program, source] of Object.entries(PROGRAMS)) {
    if (existsSync(join(folder, program))) continue;
    progress(`  building ${source} ${VERSION} …`);
    const env = { ...process.env, GOBIN: folder };
    await run('go', ['install', `${source}@v${VERSION}`], { env, timeout: BUILD_TIMEOUT_MS });
  }
  return folder;
}

async function createSchema(programs: string, database: URL): Promise<void> {
  const { hostname, port, username, password } = database;
  const server = ['--plugin', 'postgres12_pgx', '--ep', hostname, '--port', port, '--user', username, '--pw', password];
  for (const store of Object.keys(STORES)) {
    const tool = (...args: string[]) =>
      run(join(programs, 'sql'), [...server, '--db', databaseOf(store), ...args], { timeout: SCHEMA_TIMEOUT_MS });
    await tool('create-database');
    await tool('setup-schema', '--version', '0.0');
    await tool('update-schema', '--schema-name', `postgresql/v12/${store}`);
  }
}

const databaseOf = (store: string) => `bench_${store}`;

async function configure({ hostname, port, username, password }: URL) {
  const ports = await Promise.all(Array.from({ length: 8 }, () => freePort()));
  const [frontend = 0] = ports;
  const service = (n: number) => ({
    rpc: { grpcPort: ports[n], membershipPort: ports[n + 4], bindOnIP: '127.0.0.1' },
  });
  const datastore = (store: string) => ({
    sql: {
      pluginName: 'postgres12_pgx',
      databaseName: databaseOf(store),
      connectAddr: `${hostname}:${port}`,
      connectProtocol: 'tcp',
      user: username,
      password,
      maxConns: CONNECTIONS,
      maxIdleConns: CONNECTIONS,
    },
  });
  const config = {
    log: { stdout: true, level: 'error' },
    persistence: {
      defaultStore: STORES.temporal,
      visibilityStore: STORES.visibility,
      numHistoryShards: HISTORY_SHARDS,
      datastores: Object.fromEntries(Object.entries(STORES).map(([store, name]) => [name, datastore(store)])),
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: { frontend: service(0), matching: service(1), history: service(2), worker: service(3) },
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: { enabled: true, initialFailoverVersion: 1, rpcName: 'frontend', rpcAddress: `127.0.0.1:${frontend}` },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
  };
  return { address: `127.0.0.1:${frontend}`, config };
}

/** Tried until the server is there. */
async function createNamespace(address: string, progress: (line: string) => void): Promise<void> {
  const temporal = await findTemporal(progress);
  const args = ['operator', 'namespace', 'create', '--namespace', 'default', '--retention', '24h'];
  const create = async () => void (await run(temporal, [...args, '--address', address]));
  await until(create, AbortSignal.timeout(READY_WITHIN_MS));
}

/** @param databaseUrl of a PostgreSQL whose user may create databases */
export async function startTemporalServer(databaseUrl: string, progress: (line: string) => void) {
  const programs = await build(progress);
  const database = new URL(databaseUrl);
  await createSchema(programs, database);
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-temporal-'));
  const { address, config } = await configure(database);
  const file = join(folder, 'config.yaml');
  await writeFile(file, stringify(config), { mode: 0o600 });
  const server = spawn(join(programs, 'server'), ['--config-file', file, '--allow-no-auth', 'start'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, GOGC: '800' },
  });
  const ended = once(server, 'exit');
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  await createNamespace(address, progress);
  return {
    address,
    pid: server.pid ?? 0,
    async stop() {
      server.kill('SIGTERM');
      await ended;
      process.off('exit', kill);
      await rm(folder, { recursive: true });
    },
  };
}
