/** Which room may know which, as the linter enforces it. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url));
const RULE = 'no-restricted-imports';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-house-'));
  await copyFile(join(CHECKOUT, '.oxlintrc.json'), join(folder, '.oxlintrc.json'));
});
afterAll(() => rm(folder, { recursive: true }));

/** What the linter says about files of a folder. */
async function lint(cwd: string, ...files: string[]): Promise<string> {
  const oxlint = join(CHECKOUT, 'node_modules/.bin/oxlint');
  return promisify(execFile)(oxlint, ['--format=unix', ...files], { cwd }).then(
    ({ stdout }) => stdout,
    (error: Error & { stdout: string }) => error.stdout,
  );
}

/** What the linter says about one statement in a file of that name. */
async function lintStatement(file: string, statement: string): Promise<string> {
  await mkdir(dirname(join(folder, file)), { recursive: true });
  await writeFile(join(folder, file), `${statement}\n`);
  return lint(folder, file);
}

describe('a workflow', () => {
  test.each([
    `import 'node:fs';`,
    `import 'fs';`,
    `import 'pg';`,
    `import 'ioredis';`,
    `import 'fastify';`,
    `import '@temporalio/client';`,
    `import '@temporalio/workflow/lib/internals';`,
    `import '../api/app.ts';`,
    `import '../runtime/config.ts';`,
    `import '../db/prepare.ts';`,
    `import '../worker/main.ts';`,
    `import { createActivities } from '../activities/index.ts';`,
    `export { createActivities } from '../activities/index.ts';`,
    `export * from '../activities/index.ts';`,
    `export const late = () => import('node:fs');`,
  ])('must not say %s', async (statement) => {
    expect(await lintStatement('workflows/some.ts', statement)).toContain(RULE);
  });

  test.each([
    `export { sleep } from '@temporalio/workflow';`,
    `export { ApplicationFailure } from '@temporalio/common';`,
    `export { UndoStack } from './undo.ts';`,
    `export { bookingId } from '../domain/booking-id.ts';`,
    `import type { Hold } from '../activities/seat-holds.ts'; export type It = Hold;`,
  ])('may say %s', async (statement) => {
    expect(await lintStatement('workflows/some.ts', statement)).toBe('');
  });
});

test.each([
  ['domain/some.ts', `import 'node:crypto';`],
  ['domain/some.ts', `import '../runtime/config.ts';`],
  ['activities/some.ts', `import '../api/app.ts';`],
  ['activities/some.ts', `import '../workflows/messages.ts';`],
  ['activities/some.ts', `import '../worker/main.ts';`],
  ['api/routes/some.ts', `import '../../workflows/reservation.ts';`],
  ['api/some.ts', `import { createActivities } from '../activities/index.ts';`],
  ['api/some.ts', `import '../worker/create-worker.ts';`],
  ['worker/some.ts', `import '../workflows/reservation.ts';`],
  ['worker/some.ts', `import '../api/app.ts';`],
  ['runtime/some.ts', `import '../activities/index.ts';`],
  ['db/some.ts', `import '../api/queries.ts';`],
  ['dev/some.ts', `import '../worker/main.ts';`],
  ['worker/some.ts', `import '../test/support/system.ts';`],
])('%s must not say %s', async (file, statement) => {
  expect(await lintStatement(file, statement)).toContain(RULE);
});

test('the tree keeps to it', async () => {
  expect(await lint(CHECKOUT)).not.toContain(RULE);
});
