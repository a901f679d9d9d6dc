import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const preload = new URL('../../dist/worker/fast-workflows.js', import.meta.url).href;
const probe = fileURLToPath(new URL('./watchdog-probe.cjs', import.meta.url));

const outcomes = async (...flags: string[]) =>
  (await run(process.execPath, [...flags, probe])).stdout.trim().split('\n');

test('with the preload, workflow threads run without a watchdog; the main thread keeps its own', async () => {
  expect(await outcomes('--import', preload)).toEqual(['main ERR_SCRIPT_EXECUTION_TIMEOUT', 'thread not stopped']);
});

test('without it nothing is changed', async () => {
  const stopped = ['main ERR_SCRIPT_EXECUTION_TIMEOUT', 'thread ERR_SCRIPT_EXECUTION_TIMEOUT'];
  expect(await outcomes()).toEqual(stopped);
});
