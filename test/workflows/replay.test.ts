/**
 * Reservations that were started by the code of yesterday go on with the code of today. A new path is recorded, and
 * what is there stays, with
 *
 *     RECORD_HISTORIES=1 npm test -- test/workflows/replay.test.ts
 */
import { readFile, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import proto from '@temporalio/proto';
import { Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, expect, test } from 'vitest';
import { bundleMutant } from '../support/mutant.ts';
import { workflowBundle } from '../support/system.ts';
import { recordHistories } from './record-histories.ts';

const folder = resolve(import.meta.dirname, 'histories');

beforeAll(async () => {
  if (process.env['RECORD_HISTORIES']) await recordHistories(folder);
});

async function historyOf(path: string) {
  const json: Record<string, unknown> = JSON.parse(await readFile(join(folder, `${path}.json`), 'utf8'));
  return proto.temporal.api.history.v1.History.fromObject(json);
}

test('every path of a reservation replays as it was recorded', async () => {
  const paths = (await readdir(folder)).map((file) => file.replace('.json', ''));
  const histories = await Promise.all(
    paths.map(async (path) => ({ workflowId: `res_${path}`, history: await historyOf(path) })),
  );
  const failed: string[] = [];
  const results = Worker.runReplayHistories({ workflowBundle: workflowBundle() }, histories);
  for await (const { workflowId, error } of results) if (error) failed.push(`${workflowId}: ${error.message}`);
  expect(failed).toEqual([]);
  expect(paths.toSorted()).toEqual([
    'cancelled',
    'claimed-while-unlocked',
    'declined-then-paid',
    'expired',
    'failed',
    'held-unheard',
    'late-charge-given-back',
    'late-payment-rescued',
    'paid',
    'refused',
    'released',
  ]);
});

test.each([
  ['the money taken before the seats are booked', 'payment.ts', 'surely.bookSeats(held)', 'capturePayment(charge)'],
  ['the mail sent before the ending is shown', 'reservation.ts', 'enter(saga, inbox.ending);', 'await sendMail(saga);'],
])('%s would not pass unnoticed', async (_title, file, one, other) => {
  const mutant = await bundleMutant(file, one, other);
  await expect(Worker.runReplayHistory({ workflowBundle: mutant }, await historyOf('paid'))).rejects.toThrow(
    DeterminismViolationError,
  );
});
