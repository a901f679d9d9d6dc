import { Worker, type NativeConnection, type WorkerOptions } from '@temporalio/worker';
import type { Activities } from '../activities/index.ts';
import { TaskQueues } from '../workflows/messages.ts';

/** What the gateway is asked per second at most, by all workers together. */
const PAYMENTS_PER_SECOND = 200;

export interface WorkersOptions {
  connection: NativeConnection;
  namespace: string;
  activities: Activities;
  /** The workflows as a bundle, or as a path to bundle from. */
  workflows: Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'>;
}

/** The three workers of a worker process, one for each task queue; the same for production and tests. */
export async function createWorkers({ connection, namespace, activities, workflows }: WorkersOptions) {
  const common = { connection, namespace, shutdownGraceTime: '10 seconds' } as const;
  return Promise.all([
    Worker.create({
      ...common,
      ...workflows,
      taskQueue: TaskQueues.reservations,
      activities: activities.seats,
      maxCachedWorkflows: 2_000,
      maxConcurrentWorkflowTaskExecutions: 100,
      maxConcurrentLocalActivityExecutions: 100,
    }),
    Worker.create({
      ...common,
      taskQueue: TaskQueues.payments,
      activities: activities.payments,
      maxTaskQueueActivitiesPerSecond: PAYMENTS_PER_SECOND,
    }),
    Worker.create({ ...common, taskQueue: TaskQueues.notifications, activities: activities.notifications }),
  ]);
}
