/** A version is deployed whose workflow cannot go on with what the one before began. */
import { execFile } from 'node:child_process';
import { dirname, delimiter } from 'node:path';
import { promisify } from 'node:util';
import { WithStartWorkflowOperation } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { afterAll, expect, inject, test } from 'vitest';
import { findTemporal } from '../../dev/tools.ts';
import { TaskQueues, claim } from '../../workflows/messages.ts';
import { buyerAt } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { addEvent } from '../support/house.ts';
import { bundleMutant } from '../support/mutant.ts';
import { openStores } from '../support/stores.ts';
import { startApi, startWorkers, workflowBundle, type Version } from '../support/system.ts';

const SOON = { timeout: 20_000, interval: 50 };
const HOLD_SECONDS = 120;
const SHORT_HOLD_SECONDS = 10;

const stores = await openStores();
const endings: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of endings.reverse()) await end();
  await stores.close();
});

async function runWorkers(version: Version) {
  const workers = await startWorkers(stores, undefined, undefined, undefined, version);
  endings.push(workers.stop);
  return workers;
}

async function runApi(version: Version) {
  const { url, client, stop } = await startApi(stores, HOLD_SECONDS, undefined, {}, undefined, version);
  endings.push(stop);
  return { buyer: buyerAt(url), client, stop };
}

/** The step of a deploy that makes a version current. */
async function promote({ deploymentVersion }: Version): Promise<void> {
  const temporal = await findTemporal(() => undefined);
  await promisify(execFile)('sh', ['deploy/promote.sh'], {
    env: {
      ...process.env,
      PATH: [dirname(temporal), process.env['PATH']].join(delimiter),
      TEMPORAL_ADDRESS: inject('temporal_address'),
      TEMPORAL_NAMESPACE: stores.namespace,
      DEPLOYMENT_VERSION: deploymentVersion,
    },
  });
}

test('every hold ends as it should with the version that it was made by, and new ones are made by the next', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 5);
  const [toPay = '', toRelease = '', toExpire = '', toReplay = '', next = ''] = seat_ids;
  const one: Version = { deploymentVersion: 'one', workflowBundle: workflowBundle() };
  const two: Version = {
    deploymentVersion: 'two',
    workflowBundle: await bundleMutant('payment.ts', 'surely.bookSeats(held)', 'capturePayment(charge)'),
  };

  const workersOfOne = await runWorkers(one);
  await promote(one);
  const apiOfOne = await runApi(one);
  const { client } = apiOfOne;
  const heldByOne: string[] = [];
  for (const seat of [toPay, toRelease, toReplay]) {
    const { status, body } = await apiOfOne.buyer.hold(event_id, [seat]);
    expect(status).toBe(201);
    heldByOne.push(body.reservation_id);
  }
  const [paid = '', released = '', replayed = ''] = heldByOne;
  const expired = `res_expires_${event_id}`;
  heldByOne.push(expired);
  expect((await apiOfOne.buyer.payAndWait(replayed, 'tok_visa')).status).toBe(201);
  const history = await client.workflow.getHandle(replayed).fetchHistory();
  await client.workflow.executeUpdateWithStart(claim, {
    startWorkflowOperation: new WithStartWorkflowOperation('reservation', {
      workflowId: expired,
      taskQueue: TaskQueues.reservations,
      args: [
        { event_id, user_id: 'ann', seat_ids: [toExpire], hold_seconds: SHORT_HOLD_SECONDS, answer_within_ms: 10_000 },
      ],
      workflowIdConflictPolicy: 'FAIL',
    }),
  });
  const [start] = history.events ?? [];
  expect(start?.workflowExecutionStartedEventAttributes?.eagerExecutionAccepted).toBe(true);

  await workersOfOne.stop();
  endings.splice(endings.indexOf(workersOfOne.stop), 1);
  await runWorkers(two);
  await promote(two);
  const { buyer, client: temporal } = await runApi(two);
  await apiOfOne.stop();
  endings.splice(endings.indexOf(apiOfOne.stop), 1);
  await runWorkers(one); // with nothing in memory
  const back = Date.now();

  const made = await buyer.hold(event_id, [next]);
  expect(made.status).toBe(201);
  expect(await buyer.payAndWait(made.body.reservation_id, 'tok_visa')).toMatchObject({ status: 201 });
  expect(await buyer.release(released)).toMatchObject({ status: 200, body: { status: 'RELEASED' } });
  expect(await buyer.payAndWait(paid, 'tok_visa')).toMatchObject({ status: 201, body: { status: 'CONFIRMED' } });
  await expect.poll(async () => (await buyer.reservation(expired)).body.status, SOON).toBe('EXPIRED');
  const { body } = await buyer.reservation(expired);
  expect(Date.now() - Math.max(back, Date.parse(body.expires_at))).toBeLessThan(8_000);

  const versionOf = async (reservationId: string) => {
    const { raw } = await temporal.workflow.getHandle(reservationId).describe();
    return raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId;
  };
  expect(await Promise.all([...heldByOne, made.body.reservation_id].map(versionOf))).toEqual([
    'one',
    'one',
    'one',
    'one',
    'two',
  ]);
  await expect(Worker.runReplayHistory(two, history)).rejects.toThrow(DeterminismViolationError);
  await expectNoFaults(stores);
}, 90_000);
