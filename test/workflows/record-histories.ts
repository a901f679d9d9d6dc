/** Records a history of every path of a reservation that has none, from a real server, as `replay.test.ts` reads them. */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection, WithStartWorkflowOperation, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import proto from '@temporalio/proto';
import { inject } from 'vitest';
import type { Activities } from '../../activities/index.ts';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import { TaskQueues, claim, pay, payment, release } from '../../workflows/messages.ts';
import { openStores } from '../support/stores.ts';
import { startWorkers } from '../support/system.ts';

const { History } = proto.temporal.api.history.v1;
const SEAT = 'demo-theatre-stalls-1-1';
const PRICE = { amount: 8_500, currency: 'EUR' };
const input = { event_id: 'demo-theatre', user_id: 'ann', seat_ids: [SEAT], answer_within_ms: 10_000 };

/** After this the reservation that runs a step is given its next task, with what has come meanwhile. */
const TASK_MS = 1_000;

/** A step, and the reservation's id. */
type Step = `${'release' | 'unlock'} ${string}`;

/** What arrives during a step. */
type Late = Map<Step, () => Promise<unknown>>;

/** It arrives once. */
function take(late: Late, step: Step) {
  const arrives = late.get(step);
  late.delete(step);
  return arrives;
}

const withLate =
  (late: Late) =>
  (activities: Activities): Activities => ({
    ...activities,
    seats: {
      ...activities.seats,
      async holdSeats(request) {
        if (request.reservation_id === 'res_failed') throw ApplicationFailure.nonRetryable('PostgreSQL is away');
        const result = await activities.seats.holdSeats(request);
        if (request.reservation_id === 'res_held-unheard') throw ApplicationFailure.nonRetryable('the reply was lost');
        return result;
      },
      async releaseSeats(request) {
        const ending = await activities.seats.releaseSeats(request);
        await take(late, `release ${request.reservation_id}`)?.();
        return ending;
      },
      async unlockSeats(request) {
        const arrives = take(late, `unlock ${request.reservation_id}`);
        if (arrives) {
          void arrives();
          await delay(1.2 * TASK_MS);
          throw ApplicationFailure.retryable('Redis is away');
        }
        await activities.seats.unlockSeats(request);
      },
    },
  });

export async function recordHistories(folder: string): Promise<void> {
  const stores = await openStores();
  const late: Late = new Map();
  const workers = await startWorkers(stores, withLate(late));
  const connection = await Connection.connect({ address: inject('temporal_address') });
  const client = new Client({ connection, namespace: stores.namespace });
  await mkdir(folder, { recursive: true });

  async function start(path: string, hold_seconds: number): Promise<WorkflowHandle> {
    const workflowId = `res_${path}`;
    const startWorkflowOperation = new WithStartWorkflowOperation('reservation', {
      workflowId,
      taskQueue: TaskQueues.reservations,
      args: [{ ...input, hold_seconds }],
      workflowTaskTimeout: TASK_MS,
      workflowIdConflictPolicy: 'FAIL',
    });
    await client.workflow.executeUpdateWithStart(claim, { args: [input], startWorkflowOperation });
    return client.workflow.getHandle(workflowId);
  }

  const fileOf = (path: string) => join(folder, `${path}.json`);

  /** Where it ran and as which process is nobody's business. */
  async function save(path: string, workflow: WorkflowHandle) {
    const readable = { longs: String, bytes: String, enums: String };
    const history = History.toObject(History.create(await workflow.fetchHistory()), readable);
    const json = JSON.stringify(
      history,
      (key, value: unknown) => (key === 'identity' || key === 'stackTrace' ? '' : value),
      1,
    );
    await writeFile(fileOf(path), `${json}\n`);
  }

  async function record(path: string, act: (workflow: WorkflowHandle) => Promise<unknown>, hold_seconds = 600) {
    if (existsSync(fileOf(path))) return;
    const workflow = await start(path, hold_seconds);
    await act(workflow);
    await workflow.result();
    await save(path, workflow);
    await stores.database.query(`UPDATE seats SET status = 'AVAILABLE', reservation_id = NULL WHERE seat_id = $1`, [
      SEAT,
    ]);
    await stores.redis.flushdb();
  }

  const payWith = (payment_token: string) => (workflow: WorkflowHandle) =>
    workflow.executeUpdate(pay, { args: [{ payment_token }] });
  const nothing = async () => undefined;

  await record('paid', payWith('tok_visa'));
  await record('declined-then-paid', async (workflow) => {
    await payWith('tok_declined')(workflow);
    await payWith('tok_visa')(workflow);
  });
  await record('released', (workflow) => workflow.executeUpdate(release));
  await record('cancelled', (workflow) => workflow.cancel());
  await record('expired', nothing, 1);
  await record('failed', nothing);
  await record('held-unheard', (workflow) => workflow.executeUpdate(release));
  await stores.database.query(`UPDATE seats SET status = 'BOOKED' WHERE seat_id = $1`, [SEAT]);
  await record('refused', nothing);
  late.set('unlock res_claimed-while-unlocked', () =>
    client.workflow.getHandle('res_claimed-while-unlocked').executeUpdate(claim, { args: [input] }),
  );
  await record('claimed-while-unlocked', nothing);

  late.set('release res_late-payment-rescued', () =>
    client.workflow.getHandle('res_late-payment-rescued').signal(payment, { payment_token: 'tok_visa' }),
  );
  await record('late-payment-rescued', nothing, 1);

  late.set('release res_late-charge-given-back', async () => {
    const reservation_id = 'res_late-charge-given-back';
    await stores.database.query(`UPDATE seats SET status = 'BOOKED' WHERE seat_id = $1`, [SEAT]);
    const charge = await createSandboxGateway(stores.database).authorise({
      idempotency_key: 'webhook',
      reservation_id,
      payment_token: 'tok_visa',
      price: PRICE,
    });
    if (charge.status !== 'AUTHORIZED') throw new Error(charge.detail);
    await client.workflow.getHandle(reservation_id).signal(payment, { charge_id: charge.charge_id });
  });
  await record('late-charge-given-back', nothing, 1);

  await connection.close();
  await workers.stop();
  await stores.close();
}
