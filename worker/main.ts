/** `npm run worker`: runs reservations' workflows, payments and mail until it is stopped. */
import { NativeConnection } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { createSandboxGateway } from '../activities/sandbox-gateway.ts';
import { connectPostgres, connectRedis } from '../runtime/connections.ts';
import { createDataConverter, createPayloadCodec } from '../runtime/payload-codec.ts';
import { runProcess } from '../runtime/process.ts';
import { prepareDatabase } from '../db/prepare.ts';
import { createWorkers } from './create-worker.ts';
import { installTemporalRuntime } from './runtime.ts';
import { registerSearchAttributes } from './search-attributes.ts';
import { builtWorkflows } from './workflow-bundle.ts';

await runProcess('worker', async (config, log) => {
  installTemporalRuntime(log);
  await prepareDatabase(config.DATABASE_URL, config.SEED_EVENTS);
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  await registerSearchAttributes(connection, config.TEMPORAL_NAMESPACE);
  const database = connectPostgres(config.DATABASE_URL, 20, log);
  const redis = connectRedis(config.REDIS_URL, log);
  const workers = await createWorkers({
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    dataConverter: createDataConverter(createPayloadCodec(config.ENCRYPTION_KEY)),
    activities: createActivities({
      database,
      redis,
      gateway: createSandboxGateway(database),
      smtpUrl: config.SMTP_URL,
      mailFrom: config.MAIL_FROM,
      log,
    }),
    workflows: builtWorkflows,
  });
  const running = Promise.all(workers.map((worker) => worker.run()));
  running.catch((error: unknown) => {
    log.fatal({ err: error }, 'a worker failed');
    process.exit(1);
  });
  return {
    async stop() {
      for (const worker of workers) worker.shutdown();
      await running;
      await connection.close();
      redis.disconnect();
      await database.end();
    },
  };
});
