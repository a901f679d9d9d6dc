/** Reservations on a Temporal server whose clock skips ahead: waiting for ten minutes takes no time. */
import { randomUUID } from 'node:crypto';
import { WithStartWorkflowOperation, type WorkflowHandle } from '@temporalio/client';
import proto from '@temporalio/proto';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { inject } from 'vitest';
import type { Activities } from '../../activities/index.ts';
import type { Ending } from '../../domain/model.ts';
import { createWorkers } from '../../worker/create-worker.ts';
import { TaskQueues, claim, searchAttributes, type ReservationInput } from '../../workflows/messages.ts';
import { workflowBundle } from './system.ts';

const { INDEXED_VALUE_TYPE_KEYWORD } = proto.temporal.api.enums.v1.IndexedValueType;

export async function startTimeSkipping(activities: Activities) {
  const env = await TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path: inject('temporal_test_server') } },
  });
  await env.connection.operatorService.addSearchAttributes({
    namespace: 'default',
    searchAttributes: Object.fromEntries(
      Object.keys(searchAttributes).map((name) => [name, INDEXED_VALUE_TYPE_KEYWORD]),
    ),
  });
  const workers = await createWorkers({
    connection: env.nativeConnection,
    namespace: 'default',
    dataConverter: {},
    deploymentVersion: undefined,
    activities,
    workflows: { workflowBundle: workflowBundle() },
  });
  const running = Promise.all(workers.map((worker) => worker.run()));
  const started: WorkflowHandle[] = [];

  return {
    env,

    /** Starts a reservation, and tells what its hold becomes. */
    reserve(input: ReservationInput) {
      const workflowId = `res_${randomUUID()}`;
      const reserved = env.client.workflow.executeUpdateWithStart(claim, {
        args: [input],
        startWorkflowOperation: new WithStartWorkflowOperation('reservation', {
          workflowId,
          taskQueue: TaskQueues.reservations,
          args: [input],
          workflowIdConflictPolicy: 'USE_EXISTING',
        }),
      });
      const workflow = env.client.workflow.getHandle<(input: ReservationInput) => Promise<Ending>>(workflowId);
      started.push(workflow);
      return { reserved, workflow };
    },

    /** Ends what is still open: its deadline would be skipped to by the next test. */
    async endAll() {
      for (const workflow of started.splice(0)) {
        if ((await workflow.describe()).status.name === 'RUNNING') await workflow.cancel();
        await workflow.result();
      }
    },

    async stop() {
      for (const worker of workers) worker.shutdown();
      await running;
      await env.teardown();
    },
  };
}
