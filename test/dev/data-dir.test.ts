import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DataDir } from '../../dev/data-dir.ts';

let folder: string;
beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'holdfast-data-')), 'data');
});
afterEach(() => rm(join(folder, '..'), { recursive: true }));

const silent = () => undefined;
const record = () => JSON.parse(readFileSync(join(folder, 'services.json'), 'utf8'));

/** A process that runs until it is killed, with these words in its command line. */
async function idle(...words: string[]) {
  const child = spawn(process.execPath, ['-e', `console.log('up'); setInterval(() => {}, 1e6)`, ...words]);
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  return { pid: child.pid ?? 0, child, ended };
}

test('what runs is noted for this user alone', async () => {
  const dataDir = await DataDir.acquire(folder, silent);
  dataDir.note({ redis_url: 'redis://127.0.0.1:1' });
  dataDir.notePid('Redis', 1234);
  expect(record()).toEqual({ owner_pid: process.pid, redis_url: 'redis://127.0.0.1:1', pids: { Redis: 1234 } });
  expect(statSync(folder).mode & 0o077).toBe(0);
  expect(statSync(join(folder, 'services.json')).mode & 0o077).toBe(0);
});

test('a folder that a running start has is refused to a second one, by the first one’s process id', async () => {
  const owner = await idle('dev/start');
  await DataDir.acquire(folder, silent);
  writeFileSync(join(folder, 'services.json'), JSON.stringify({ owner_pid: owner.pid, pids: {} }));
  await expect(DataDir.acquire(folder, silent)).rejects.toThrow(`already running (pid ${owner.pid}) in ${folder}`);
  owner.child.kill();
  await owner.ended;
  await DataDir.acquire(folder, silent);
  expect(record().owner_pid).toBe(process.pid);
});

test('what a killed start left running is stopped; a process id that is someone else’s by now is let be', async () => {
  const [leftover, stranger] = [await idle(folder), await idle('elsewhere')];
  await DataDir.acquire(folder, silent);
  const pids = { Redis: leftover.pid, worker: stranger.pid };
  writeFileSync(join(folder, 'services.json'), JSON.stringify({ owner_pid: 0, pids }));
  const lines: string[] = [];
  await DataDir.acquire(folder, (line) => lines.push(line));
  await leftover.ended;
  expect(stranger.child.exitCode).toBeNull();
  expect(lines).toEqual([`stopping Redis (pid ${leftover.pid}), which an earlier start left running`]);
  stranger.child.kill();
  await stranger.ended;
});

test('a folder that cannot be made is refused, and the setting is named', async () => {
  await DataDir.acquire(folder, silent);
  const inFile = DataDir.acquire(join(folder, 'services.json', 'data'), silent);
  await expect(inFile).rejects.toThrow(/^nothing can be kept in .*ENOTDIR.*: set DATA_DIR to another folder$/);
});

test('a record that cannot be read does not stop a start', async () => {
  await DataDir.acquire(folder, silent);
  writeFileSync(join(folder, 'services.json'), '{"owner_pid":');
  await DataDir.acquire(folder, silent);
  expect(record()).toEqual({ owner_pid: process.pid, pids: {} });
});

test('a released folder has no record left', async () => {
  const dataDir = await DataDir.acquire(folder, silent);
  await dataDir.release();
  expect(record).toThrow('ENOENT');
});
