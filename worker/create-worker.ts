import {
  Worker,
  type ActivityInterceptorsFactory,
  type NativeConnection,
  type WorkerOptions,
} from '@temporalio/worker';
import { defineSearchAttributeKey, type DataConverter } from '@temporalio/common';
import type { Audits } from '../activities/audits.ts';
import type { Activities } from '../activities/index.ts';
import { TaskQueues } from '../workflows/messages.ts';

/** What the gateway is asked per second at most, by all workers together. */
const PAYMENTS_PER_SECOND = 200;

/** What a task under way gets to finish when its worker stops. */
const SHUTDOWN_GRACE = '10 seconds';

/**
 * A workflow's next task waits this long for the process that has it in memory before any other may have it. It is how
 * late a hold runs out, or is paid for, whose process was killed; the SDK's own ten seconds are too long for a buyer.
 */
const WAIT_FOR_LAST_PROCESS = '1 second';

/** About 100 KB each. One that was put out of memory is replayed when it has something to do. */
const MAX_CACHED_WORKFLOWS = 300;

/** Half of what the workflow allows between two signs of life of a payment. */
const SIGN_OF_LIFE_MS = 2_000;

/** Shows that a call to the gateway is still under way: after a crash it is made again soon, however slow it may be. */
const showLife: ActivityInterceptorsFactory = (context) => ({
  inbound: {
    async execute(input, next) {
      const signs = setInterval(() => context.heartbeat(), SIGN_OF_LIFE_MS);
      try {
        return await next(input);
      } finally {
        clearInterval(signs);
      }
    },
  },
});

export interface WorkersOptions {
  connection: NativeConnection;
  namespace: string;
  dataConverter: DataConverter;
  /** Reservations stay with the version that they were started by; undefined where only one runs at a time. */
  deploymentVersion: string | undefined;
  activities: Activities;
  workflows: Pick<WorkerOptions, 'workflowBundle'>;
}

/** A workflow goes on with the code that it was started by, whatever is deployed meanwhile. */
const pinnedTo = (buildId: string | undefined): Pick<WorkerOptions, 'workerDeploymentOptions'> =>
  buildId === undefined
    ? {}
    : {
        workerDeploymentOptions: {
          version: { deploymentName: 'holdfast', buildId },
          useWorkerVersioning: true,
          defaultVersioningBehavior: 'PINNED',
        },
      };

/** What every worker has alike. */
const commonOptions = ({
  connection,
  namespace,
  dataConverter,
  deploymentVersion,
}: Pick<WorkersOptions, 'connection' | 'namespace' | 'dataConverter' | 'deploymentVersion'>) => ({
  connection,
  namespace,
  dataConverter,
  ...pinnedTo(deploymentVersion),
  shutdownGraceTime: SHUTDOWN_GRACE,
});

/** Runs audits and what they heal, beside the workers of a worker process. */
export function createAuditWorker(
  options: Omit<WorkersOptions, 'activities'> & Pick<Activities, 'seats'> & { audits: Audits },
) {
  return Worker.create({
    ...commonOptions(options),
    ...options.workflows,
    taskQueue: TaskQueues.audits,
    activities: { ...options.seats, ...options.audits },
    maxCachedWorkflows: 20,
    maxConcurrentWorkflowTaskExecutions: 4,
    maxConcurrentLocalActivityExecutions: 4,
  });
}

/** Runs reservations' workflows and their local activities. A worker process has one, and so has each API process. */
export function createReservationWorker(options: Omit<WorkersOptions, 'activities'> & Pick<Activities, 'seats'>) {
  return Worker.create({
    ...commonOptions(options),
    ...options.workflows,
    taskQueue: TaskQueues.reservations,
    activities: options.seats,
    maxCachedWorkflows: MAX_CACHED_WORKFLOWS,
    stickyQueueScheduleToStartTimeout: WAIT_FOR_LAST_PROCESS,
    maxConcurrentWorkflowTaskExecutions: 40,
    maxConcurrentLocalActivityExecutions: 100,
  });
}

const buildIds = defineSearchAttributeKey('BuildIds', 'KEYWORD_LIST');

/**
 * What the server notes of a workflow that a worker without a deployment version runs: the build. It does so after the
 * first task, with an entry in its index that costs it as much as the task; not where it was told at the start.
 */
export const buildAttributes = ({ options }: Worker) =>
  options.workerDeploymentOptions === undefined
    ? [{ key: buildIds, value: ['unversioned', `unversioned:${options.buildId}`] }]
    : [];

/** The workers of reservations, payments and mail, the same for production and tests; audits have one of their own. */
export async function createWorkers({ activities, workflows, ...options }: WorkersOptions) {
  const common = commonOptions(options);
  return Promise.all([
    createReservationWorker({ ...options, workflows, seats: activities.seats }),
    Worker.create({
      ...common,
      taskQueue: TaskQueues.payments,
      activities: activities.payments,
      interceptors: { activity: [showLife] },
      maxTaskQueueActivitiesPerSecond: PAYMENTS_PER_SECOND,
    }),
    Worker.create({ ...common, taskQueue: TaskQueues.notifications, activities: activities.notifications }),
  ]);
}
