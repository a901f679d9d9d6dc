/** The whole product in this process: workers and API, on stores of their own. */
import { Client } from '@temporalio/client';
import { NativeConnection, type WorkflowBundleOption } from '@temporalio/worker';
import { inject } from 'vitest';
import { createAudits } from '../../activities/audits.ts';
import { createActivities, createSeatActivities, type Activities } from '../../activities/index.ts';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import { Admission } from '../../api/admission.ts';
import { buildApp } from '../../api/app.ts';
import { createCatalog } from '../../api/catalog.ts';
import { HoldOutcomes } from '../../api/hold-outcomes.ts';
import { createIdempotency } from '../../api/idempotency.ts';
import { createQueries } from '../../api/queries.ts';
import { createReservationWorkflows } from '../../api/reservation-workflows.ts';
import { createSeatMaps } from '../../api/seat-maps.ts';
import { createSeatStream } from '../../api/seat-stream.ts';
import { createWebhooks } from '../../api/webhooks.ts';
import { readSettings, type Settings } from '../../runtime/config.ts';
import { createDataConverter, createPayloadCodec } from '../../runtime/payload-codec.ts';
import { renewAuditSchedules } from '../../worker/audit-schedules.ts';
import {
  buildAttributes,
  createAuditWorker,
  createReservationWorker,
  createWorkers,
} from '../../worker/create-worker.ts';
import { log, openStores, type Stores } from './stores.ts';
import { installQuietRuntime } from './temporal-runtime.ts';

installQuietRuntime();

export const workflowBundle = (): WorkflowBundleOption => ({ codePath: inject('workflow_bundle') });

export interface RunningWorkers {
  stop(): Promise<void>;
}

/** One of several versions that run side by side. */
export interface Version {
  deploymentVersion: string | undefined;
  workflowBundle: WorkflowBundleOption;
}

const onlyVersion = (): Version => ({ deploymentVersion: undefined, workflowBundle: workflowBundle() });

/** The workers of `stores`, with real side effects unless some are replaced. */
export async function startWorkers(
  { database, redis, namespace, temporalAddress }: Stores,
  replace: (activities: Activities) => Activities = (activities) => activities,
  smtpUrl?: string,
  encryptionKey?: string,
  { deploymentVersion, ...workflows } = onlyVersion(),
): Promise<RunningWorkers> {
  const connection = await NativeConnection.connect({ address: temporalAddress });
  const gateway = createSandboxGateway(database);
  const seatLocks = createSeatLocks(redis, log);
  const activities = createActivities({ database, seatLocks, gateway, smtpUrl, mailFrom: 'box-office@localhost', log });
  const workers = await createWorkers({
    connection,
    namespace,
    dataConverter: createDataConverter(createPayloadCodec(encryptionKey)),
    deploymentVersion,
    activities: replace(activities),
    workflows,
  });
  const running = Promise.all(workers.map((worker) => worker.run()));
  return {
    async stop() {
      for (const worker of workers) worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

/** Audits every event of `stores`, every second and with a patience of one. */
export async function startAuditor(stores: Stores): Promise<RunningWorkers> {
  const { database, redis, namespace } = stores;
  const connection = await NativeConnection.connect({ address: inject('temporal_address') });
  const dataConverter = createDataConverter(createPayloadCodec(undefined));
  const temporal = new Client({ connection, namespace, dataConverter });
  const seatLocks = createSeatLocks(redis, log);
  const worker = await createAuditWorker({
    connection,
    namespace,
    dataConverter,
    deploymentVersion: undefined,
    workflows: { workflowBundle: workflowBundle() },
    seats: createSeatActivities(database, seatLocks),
    audits: createAudits({ database, redis, temporal }, seatLocks, log, 1),
  });
  const running = worker.run();
  await renewAuditSchedules({ temporal, database, redis }, 1_000);
  return {
    async stop() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

/** The API of `stores`, with its own reservation worker, listening on a free port. */
export async function startApi(
  stores: Stores,
  holdSeconds: number,
  admission?: Admission,
  settings: Partial<Settings> = {},
  logOfApi = log,
  { deploymentVersion, ...bundle } = onlyVersion(),
) {
  const { database, redis, redisUrl, namespace, temporalAddress } = stores;
  const connection = await NativeConnection.connect({ address: settings.TEMPORAL_ADDRESS ?? temporalAddress });
  const payloadCodec = createPayloadCodec(settings.ENCRYPTION_KEY);
  const dataConverter = createDataConverter(payloadCodec);
  const client = new Client({ connection, namespace, dataConverter });
  const outcomes = new HoldOutcomes();
  const seatLocks = createSeatLocks(redis, log);
  const worker = await createReservationWorker({
    connection,
    namespace,
    dataConverter,
    deploymentVersion,
    workflows: bundle,
    seats: outcomes.observe(createSeatActivities(database, seatLocks)),
  });
  const running = worker.run();
  const queries = createQueries(database);
  const seatStream = createSeatStream(redisUrl, redis, log);
  const workflows = createReservationWorkflows(client, outcomes, buildAttributes(worker));
  await workflows.warmUp();
  const webhooks = createWebhooks(database, queries, workflows, log);
  const app = await buildApp({
    config: { ...readSettings({}), ...settings, HOLD_SECONDS: holdSeconds },
    log: logOfApi,
    database,
    redis,
    cache: redis,
    seatLocks,
    queries,
    catalog: createCatalog(queries),
    seatMaps: createSeatMaps(redis, queries, seatStream),
    seatStream,
    workflows,
    admission: admission ?? new Admission(seatLocks),
    answerOnce: createIdempotency(database),
    webhooks,
    payloadCodec,
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    url,
    client,
    async stop() {
      await app.close();
      await webhooks.stop();
      worker.shutdown();
      await running;
      seatStream.close();
      await connection.close();
    },
  };
}

interface SystemOptions {
  holdSeconds?: number;
  admission?: Admission;
  settings?: Partial<Settings>;
}

/** Workers and API together. @param holdSeconds how long a hold lasts in it */
export async function startSystem({ holdSeconds = 600, admission, settings = {} }: SystemOptions = {}) {
  const stores = await openStores();
  const workers = await startWorkers(stores, undefined, settings.SMTP_URL, settings.ENCRYPTION_KEY);
  const api = await startApi(stores, holdSeconds, admission, settings);
  return {
    stores,
    url: api.url,
    client: api.client,
    async stop() {
      await api.stop();
      await workers.stop();
      await stores.close();
    },
  };
}
