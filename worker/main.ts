/** `npm run worker`: runs reservations' workflows, payments and mail until it is stopped. */
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { createSandboxGateway } from '../activities/sandbox-gateway.ts';
import { connectPostgres, connectRedis } from '../runtime/connections.ts';
import type { Logger } from '../runtime/logger.ts';
import { runProcess } from '../runtime/process.ts';
import { prepareDatabase } from '../db/prepare.ts';
import { createWorkers } from './create-worker.ts';
import { registerSearchAttributes } from './search-attributes.ts';
import { prebuiltWorkflows, workflowsPath } from './workflow-bundle.ts';

await runProcess('worker', async (config, log) => {
  Runtime.install({ shutdownSignals: [], logger: temporalLogger(log) });
  await prepareDatabase(config.DATABASE_URL, config.SEED_EVENTS);
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  await registerSearchAttributes(connection, config.TEMPORAL_NAMESPACE);
  const database = connectPostgres(config.DATABASE_URL, 20, log);
  const redis = connectRedis(config.REDIS_URL, log);
  const workflowBundle = prebuiltWorkflows();
  const workers = await createWorkers({
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    activities: createActivities({
      database,
      redis,
      gateway: createSandboxGateway(database),
      smtpUrl: config.SMTP_URL,
      mailFrom: config.MAIL_FROM,
      log,
    }),
    workflows: workflowBundle ? { workflowBundle } : { workflowsPath },
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

/** Warnings and errors of Temporal's SDK and of workflows, as lines of our own log. */
function temporalLogger(log: Logger): DefaultLogger {
  return new DefaultLogger('WARN', ({ level, message, meta }) =>
    level === 'ERROR' ? log.error({ ...meta }, message) : log.warn({ ...meta }, message),
  );
}
