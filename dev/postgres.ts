/** PostgreSQL of our own: made on first use, listening on this machine only. */
import { execFile, type SpawnOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { StartError } from './start-error.ts';
import { findPostgresFolder } from './tools.ts';

const run = promisify(execFile);
const INITDB_TIMEOUT_MS = 60_000;
const PROBE_TIMEOUT_MS = 5_000;
const USER = 'holdfast';
const DATABASE = 'holdfast';

/** A command, and how to spawn it. */
interface Invocation {
  command: [file: string, ...args: string[]];
  options: Pick<SpawnOptions, 'uid' | 'gid'>;
}

/** A database server that can be run, and the URL at which it will serve. */
interface PostgresServer extends Invocation {
  databaseUrl: string;
}

/**
 * Makes the server's files where there are none.
 * @param settings server settings beyond ours, such as `{ fsync: 'off' }` in tests
 */
export async function preparePostgres(
  folder: string,
  port: number,
  settings: Record<string, string>,
): Promise<PostgresServer> {
  const programs = await findPostgresFolder();
  const data = join(folder, 'data');
  const password = await readOrMakePassword(folder);
  const asUser = await ordinaryUser(folder);
  if (!existsSync(data)) await initialise(programs, folder, data, asUser);
  const all = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: '200',
    ...settings,
  };
  const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return {
    ...asUser([join(programs, 'postgres'), '-D', data, ...flags]),
    databaseUrl: `postgres://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`,
  };
}

/** Resolves when the server answers and has our database. */
export async function databaseAnswers(databaseUrl: string): Promise<void> {
  const server = new URL(databaseUrl);
  server.pathname = 'postgres';
  await postgresAnswers(server.href, async (client) => {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  });
}

/** Resolves once there is a connection, and `ask` has had its answers. */
export async function postgresAnswers(
  databaseUrl: string,
  ask: (client: pg.Client) => Promise<unknown> = (client) => client.query('SELECT 1'),
): Promise<void> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await ask(client);
  } finally {
    await client.end();
  }
}

async function readOrMakePassword(folder: string): Promise<string> {
  const path = passwordFile(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (!existsSync(path)) await writeFile(path, randomBytes(24).toString('base64url'), { mode: 0o600 });
  return readFile(path, 'utf8');
}

const passwordFile = (folder: string) => join(folder, 'password');

/** Under another name, then renamed: an interrupted initdb leaves nothing that looks whole. */
async function initialise(
  programs: string,
  folder: string,
  data: string,
  asUser: (command: Invocation['command']) => Invocation,
): Promise<void> {
  const unfinished = `${data}.new`;
  await rm(unfinished, { recursive: true, force: true });
  const { command, options } = asUser([
    join(programs, 'initdb'),
    `--pgdata=${unfinished}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile(folder)}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
  ]);
  const [file, ...args] = command;
  await run(file, args, { ...options, timeout: INITDB_TIMEOUT_MS }).catch((error: Error) => {
    throw new StartError(`PostgreSQL's initdb failed: ${error.message.trim().split('\n').at(-1)}`);
  });
  await rename(unfinished, data);
}

/**
 * PostgreSQL refuses to run as root. A user namespace makes root look like someone else to it, while its files stay
 * root's, in whatever folder they are; where that is not to be had, another user is given the folder.
 */
async function ordinaryUser(folder: string): Promise<(command: Invocation['command']) => Invocation> {
  if (process.getuid?.() !== 0) return (command) => ({ command, options: {} });
  const unshare: Invocation['command'] = ['unshare', '--user', '--map-user=65534', '--map-group=65534'];
  const [file, ...args] = unshare;
  const namespaces = await run(file, [...args, 'true']).then(
    () => true,
    () => false,
  );
  if (namespaces) return (command) => ({ command: [...unshare, ...command], options: {} });
  const options = await anotherUser();
  await chmod(dirname(folder), 0o711);
  await run('chown', ['-R', `${options.uid}:${options.gid}`, folder]);
  return (command) => ({ command, options });
}

async function anotherUser(): Promise<{ uid: number; gid: number }> {
  for (const name of ['postgres', 'nobody']) {
    const ids = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]).catch(() => undefined);
    if (ids) return { uid: Number(ids[0].stdout), gid: Number(ids[1].stdout) };
  }
  throw new StartError('PostgreSQL does not run as root: start as another user, or set DATABASE_URL');
}
