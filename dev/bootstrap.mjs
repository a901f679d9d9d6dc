/**
 * `node dev/bootstrap.mjs <file> [argument…]` runs a file of a fresh or stale checkout: it installs and builds what is
 * missing first. Plain JavaScript without dependencies, as it is what fetches and compiles the rest.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const LOCK = '.tools/bootstrap.lock';
const LOCK_DEADLINE_MS = 600_000;
const BUILD_STAMP = 'dist/.built-from';

const [file, ...fileArguments] = process.argv.slice(2);

function fail(line) {
  console.error(line);
  process.exit(1);
}

function run(command, args) {
  console.error(`${[command, ...args].join(' ')} …`);
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (status !== 0) fail(`${command} ${args[0]} failed${error ? `: ${error.message}` : ', see above'}`);
}

function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Compares versions rather than times, which a copy or a change of branch leaves meaningless. */
function isInstalled() {
  const { packages: wanted } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
  const { packages: present } = JSON.parse(readIfThere('node_modules/.package-lock.json') ?? '{"packages":{}}');
  return Object.entries(wanted).every(
    ([path, { version, optional, devOptional }]) =>
      path === '' || optional || devOptional || present[path]?.version === version,
  );
}

/** A digest of everything that the build reads, the versions of the packages included. */
function sourcesDigest() {
  const { include } = JSON.parse(readFileSync('tsconfig.build.json', 'utf8'));
  const rooms = include.flatMap((room) => filesIn(room)).filter((path) => path.endsWith('.ts'));
  const digest = createHash('sha256');
  for (const path of ['tsconfig.json', 'tsconfig.build.json', 'package-lock.json', ...rooms.sort()]) {
    digest.update(`${path}\0`).update(readFileSync(path)).update('\0');
  }
  return digest.digest('hex');
}

function filesIn(folder) {
  if (!statSync(folder, { throwIfNoEntry: false })) return [];
  return readdirSync(folder, { recursive: true }).map((name) => join(folder, name));
}

function prepare() {
  if (!isInstalled()) run('npm', ['ci', '--include=dev']);
  const digest = sourcesDigest();
  if (readIfThere(BUILD_STAMP) === digest) return;
  rmSync('dist', { recursive: true, force: true });
  run('npm', ['run', '--silent', 'build']);
  writeFileSync(BUILD_STAMP, digest);
}

const isPrepared = () => isInstalled() && readIfThere(BUILD_STAMP) === sourcesDigest();

/** One at a time: two `npm ci` in one folder leave it broken. */
async function withLock(work) {
  const deadline = Date.now() + LOCK_DEADLINE_MS;
  mkdirSync('.tools', { recursive: true });
  for (let tries = 0; !takeLock(); tries += 1) {
    if (tries === 0) console.error('waiting for another start to install and build …');
    if (Date.now() > deadline) fail(`another start has been installing for too long; remove ${LOCK} if there is none`);
    await sleep(200);
  }
  process.once('exit', dropLock);
  work();
  process.off('exit', dropLock);
  dropLock();
}

const dropLock = () => rmSync(LOCK, { force: true });

function takeLock() {
  try {
    writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    const holder = Number(readIfThere(LOCK));
    if (holder && !isAlive(holder)) dropLock();
    return false;
  }
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

if (!process.features.require_module) fail(`Node 20.19, 22.12 or newer is needed; this is ${process.version}`);
if (!file) fail('usage: node dev/bootstrap.mjs <file> [argument…]');
process.chdir(fileURLToPath(new URL('..', import.meta.url)));
if (!isPrepared()) await withLock(prepare);

process.argv = [process.argv[0], resolve(file), ...fileArguments];
await import(pathToFileURL(resolve(file)).href);
