/** `npm run api`: serves the API until it is stopped. */
import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { createSeatActivities } from '../activities/index.ts';
import { createSeatLocks } from '../activities/seat-locks.ts';
import { prepareDatabase } from '../db/prepare.ts';
import { requireKeyOrLoopback } from '../runtime/config.ts';
import { connectPostgres, connectRedis, reach } from '../runtime/connections.ts';
import { createDataConverter, createPayloadCodec } from '../runtime/payload-codec.ts';
import { runProcess } from '../runtime/process.ts';
import { buildAttributes, createReservationWorker } from '../worker/create-worker.ts';
import { installTemporalRuntime } from '../worker/runtime.ts';
import { builtWorkflows } from '../worker/workflow-bundle.ts';
import { Admission } from './admission.ts';
import { buildApp } from './app.ts';
import { createCatalog } from './catalog.ts';
import { HoldOutcomes } from './hold-outcomes.ts';
import { createIdempotency } from './idempotency.ts';
import { createQueries } from './queries.ts';
import { createReservationWorkflows } from './reservation-workflows.ts';
import { createSeatMaps } from './seat-maps.ts';
import { createSeatStream } from './seat-stream.ts';
import { createWebhooks } from './webhooks.ts';

await runProcess('api', async (config, log) => {
  requireKeyOrLoopback(config);
  installTemporalRuntime(log);
  await prepareDatabase(config.DATABASE_URL, config.SEED_EVENTS);
  const database = connectPostgres(config.DATABASE_URL, 20, log, { byKey: true });
  const redis = connectRedis(config.REDIS_URL, log);
  const cache = connectRedis(config.REDIS_CACHE_URL, log);
  const connection = await reach('Temporal', 'TEMPORAL_ADDRESS', () =>
    NativeConnection.connect({ address: config.TEMPORAL_ADDRESS }),
  );
  const namespace = config.TEMPORAL_NAMESPACE;
  const payloadCodec = createPayloadCodec(config.ENCRYPTION_KEY);
  const dataConverter = createDataConverter(payloadCodec);
  const outcomes = new HoldOutcomes();
  const seatLocks = createSeatLocks(redis, log);
  const worker = await createReservationWorker({
    connection,
    namespace,
    dataConverter,
    deploymentVersion: config.DEPLOYMENT_VERSION,
    workflows: builtWorkflows,
    seats: outcomes.observe(createSeatActivities(database, seatLocks)),
  });
  const running = worker.run();
  running.catch((error: unknown) => {
    log.fatal({ err: error }, 'the worker failed');
    process.exit(1);
  });
  const queries = createQueries(database);
  const seatStream = createSeatStream(config.REDIS_URL, redis, log);
  const client = new Client({ connection, namespace, dataConverter });
  const workflows = createReservationWorkflows(client, outcomes, buildAttributes(worker));
  const catalog = createCatalog(queries);
  await Promise.all([workflows.warmUp(), catalog.warmUp()]).catch((error: unknown) =>
    log.warn({ err: error }, 'the first buyers may wait a little'),
  );
  const webhooks = createWebhooks(database, queries, workflows, log);
  const app = await buildApp({
    config,
    log,
    database,
    redis,
    cache,
    seatLocks,
    queries,
    catalog,
    seatMaps: createSeatMaps(cache, queries, seatStream),
    seatStream,
    workflows,
    admission: new Admission(seatLocks),
    answerOnce: createIdempotency(database),
    webhooks,
    payloadCodec,
  });
  await app.listen({ host: config.HOST, port: config.PORT });
  return {
    async stop() {
      await app.close();
      await webhooks.stop();
      worker.shutdown();
      await running;
      seatStream.close();
      redis.disconnect();
      cache.disconnect();
      await connection.close();
      await database.end();
    },
  };
});
