import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { supervise, until, type Program, type Stoppable } from '../../dev/supervise.ts';
import { StartError } from '../../dev/start-error.ts';

const running: Stoppable[] = [];
afterEach(() => Promise.all(running.splice(0).map((it) => it.stop())));

const SERVES = `setInterval(() => {}, 1e6); process.stdout.write('serves');`;

/** Starts a script that serves once it has said so, and tells what became of it. */
async function start(script: string, settings: Partial<Program> = {}) {
  const pids: number[] = [];
  const lines: string[] = [];
  const killLast = () => pids.slice(-1).forEach((pid) => process.kill(pid, 'SIGKILL'));
  const supervised = await supervise({
    name: 'thing',
    command: [process.execPath, '-e', script],
    options: { stdio: ['ignore', 'pipe', 'ignore'] },
    ready: servesSoon,
    readyWithinMs: 5_000,
    stopSignal: 'SIGTERM',
    stopWithinMs: 5_000,
    onSpawn: (pid) => pids.push(pid),
    hint: 'see above',
    log: (line) => lines.push(line),
    ...settings,
  });
  running.push(supervised);
  return { ...supervised, pids, lines, killLast };
}

async function servesSoon({ stdout }: ChildProcess, signal: AbortSignal): Promise<void> {
  if (stdout) await once(stdout, 'data', { signal });
}

function isAlive(pid = Number.NaN): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a program that dies is started again, each time that it dies', async () => {
  const { pids, lines, killLast } = await start(SERVES);
  for (const times of [1, 2]) {
    killLast();
    await expect.poll(() => lines.filter((line) => line === 'thing is back').length, { timeout: 10_000 }).toBe(times);
  }
  expect(new Set(pids).size).toBe(3);
  expect(lines[0]).toMatch(/^thing was killed by SIGKILL; starting it again in \d+ ms$/);
});

test('a program that is stopped stays so', async () => {
  const { pids, lines, stop } = await start(SERVES);
  await stop();
  expect([pids.length, isAlive(pids[0]), lines]).toEqual([1, false, []]);
});

test('a program that will not stop is killed at its deadline', async () => {
  const { pids, stop } = await start(`process.on('SIGTERM', () => {}); ${SERVES}`, { stopWithinMs: 100 });
  await stop();
  expect(isAlive(pids[0])).toBe(false);
});

test('a stop between death and restart is heeded', async () => {
  const { pids, lines, killLast, stop } = await start(SERVES);
  killLast();
  await expect.poll(() => lines.length).toBe(1);
  await stop();
  expect(pids.length).toBe(1);
});

test('a program that is never ready is killed, and its start refused in one line', async () => {
  const pids: number[] = [];
  const starting = start('setInterval(() => {}, 1e6)', { readyWithinMs: 300, onSpawn: (pid) => pids.push(pid) });
  await expect(starting).rejects.toEqual(new StartError('thing was not ready within 0.3 s; see above'));
  expect(isAlive(pids[0])).toBe(false);
});

test('a program that dies at its start is refused in one line that says how it died', async () => {
  await expect(start('process.exit(3)')).rejects.toEqual(
    new StartError('thing ended with code 3 before it was ready; see above'),
  );
});

test('a program that is not there is refused in one line', async () => {
  await expect(start('', { command: ['/no/such/program'] })).rejects.toThrow(/^thing could not be run \(.*ENOENT\)/);
});

test('a probe is repeated until it succeeds', async () => {
  let tries = 0;
  const probe = async () => {
    tries += 1;
    if (tries < 3) throw new Error('not yet');
  };
  await until(probe, AbortSignal.timeout(5_000));
  expect(tries).toBe(3);
});

test('a probe that never succeeds ends with its signal', async () => {
  const probe = () => Promise.reject(new Error('never'));
  await expect(until(probe, AbortSignal.timeout(100))).rejects.toMatchObject({ name: 'AbortError' });
});
