/** Which room may know which, as the linter enforces it, and what no room that workflows share may keep. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url));
const RULE = 'no-restricted-imports';

/** The statement, in a file of that folder. */
type Case = [folder: string, statement: string];

const REFUSED: Case[] = [
  ['workflows', `import 'node:fs';`],
  ['workflows', `import 'fs';`],
  ['workflows', `import 'pg';`],
  ['workflows', `import 'ioredis';`],
  ['workflows', `import 'fastify';`],
  ['workflows', `import '@temporalio/client';`],
  ['workflows', `import '@temporalio/workflow/lib/internals';`],
  ['workflows', `import '../api/app.ts';`],
  ['workflows', `import '../runtime/config.ts';`],
  ['workflows', `import '../db/prepare.ts';`],
  ['workflows', `import '../worker/main.ts';`],
  ['workflows', `import { createActivities } from '../activities/index.ts'; createActivities();`],
  ['workflows', `export { createActivities } from '../activities/index.ts';`],
  ['workflows', `export * from '../activities/index.ts';`],
  ['workflows', `export const late = () => import('node:fs');`],
  ['domain', `import 'node:crypto';`],
  ['domain', `import '../runtime/config.ts';`],
  ['activities', `import '../api/app.ts';`],
  ['activities', `import '../workflows/messages.ts';`],
  ['activities', `import '../worker/main.ts';`],
  ['audit', `import type { SeatLocks } from '../activities/seat-locks.ts'; export type It = SeatLocks;`],
  ['api/routes', `import '../../workflows/reservation.ts';`],
  ['api', `import { createActivities } from '../activities/index.ts'; createActivities();`],
  ['api', `import '../worker/create-worker.ts';`],
  ['worker', `import '../workflows/reservation.ts';`],
  ['worker', `import '../api/app.ts';`],
  ['worker', `import '../test/support/system.ts';`],
  ['runtime', `import '../activities/index.ts';`],
  ['db', `import '../api/queries.ts';`],
  ['dev', `import '../worker/main.ts';`],
];

const ACCEPTED: Case[] = [
  ['workflows', `export { sleep } from '@temporalio/workflow';`],
  ['workflows', `export { ApplicationFailure } from '@temporalio/common';`],
  ['workflows', `export { UndoStack } from './undo.ts';`],
  ['workflows', `export { bookingId } from '../domain/booking-id.ts';`],
  ['workflows', `import type { Hold } from '../activities/seat-holds.ts'; export type It = Hold;`],
  ['domain', `export { Type } from 'typebox';`],
  ['activities', `export { seatLock } from '../domain/redis-keys.ts';`],
  ['api', `export { TaskQueues } from '../workflows/messages.ts';`],
  ['api', `import type { Hold } from '../activities/seat-holds.ts'; export type It = Hold;`],
];

let folder: string;
let findings: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-house-'));
  await copyFile(join(CHECKOUT, '.oxlintrc.json'), join(folder, '.oxlintrc.json'));
  for (const it of [...REFUSED, ...ACCEPTED]) {
    const file = join(folder, fileOf(it));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${it[1]}\n`);
  }
  findings = await lint(folder);
});
afterAll(() => rm(folder, { recursive: true }));

const fileOf = ([room, statement]: Case) =>
  `${room}/${createHash('sha256').update(statement).digest('hex').slice(0, 16)}.ts`;

/** One line for each file and statement that the linter refuses. */
async function lint(cwd: string): Promise<string> {
  const oxlint = join(CHECKOUT, 'node_modules/.bin/oxlint');
  const { stdout } = await promisify(execFile)(oxlint, ['--format=unix'], { cwd }).catch(
    (error: Error & { stdout: string }) => error,
  );
  return stdout;
}

const refusalsIn = (file: string) =>
  findings.split('\n').filter((line) => line.startsWith(`${file}:`) && line.includes(RULE));

test.each(REFUSED)('%s/ must not say %s', (...it) => {
  expect(refusalsIn(fileOf(it)).length).toBe(1);
});

test.each(ACCEPTED)('%s/ may say %s', (...it) => {
  expect(refusalsIn(fileOf(it))).toEqual([]);
});

test('the tree keeps to it', async () => {
  expect(await lint(CHECKOUT)).not.toContain(RULE);
});

/** At the top of a module, where all workflows of a worker would share it: see worker/workflow-bundle.ts. */
const KEPT = /^(?:export )?(?:(?:let|var) .*|const .* = (?:new |\[).*)/gmu;

test.each(['let last = 0;', 'export let last = 0;', 'const seen = new Set<string>();', 'const all: string[] = [];'])(
  'a module of workflows/ must not keep %s',
  (statement) => expect(`import './undo.ts';\n\n${statement}\n`.match(KEPT)).toEqual([statement]),
);

test('no module that workflows share keeps anything', async () => {
  for (const room of ['workflows', 'domain']) {
    for (const name of await readdir(join(CHECKOUT, room))) {
      const source = await readFile(join(CHECKOUT, room, name), 'utf8');
      expect(source.match(KEPT), `${room}/${name}`).toBeNull();
    }
  }
});
