/** `npm run worker`: runs reservations' workflows, payments, mail and audits until it is stopped. */
import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { Pool } from 'pg';
import { createAudits } from '../activities/audits.ts';
import { createActivities } from '../activities/index.ts';
import { createSandboxGateway } from '../activities/sandbox-gateway.ts';
import { createSeatLocks } from '../activities/seat-locks.ts';
import type { PaymentGateway } from '../activities/payments.ts';
import type { Config } from '../runtime/config.ts';
import { connectPostgres, connectRedis, reach } from '../runtime/connections.ts';
import { createDataConverter, createPayloadCodec } from '../runtime/payload-codec.ts';
import { runProcess } from '../runtime/process.ts';
import { prepareDatabase } from '../db/prepare.ts';
import { keepAuditSchedules } from './audit-schedules.ts';
import { createAuditWorker, createWorkers } from './create-worker.ts';
import { installTemporalRuntime } from './runtime.ts';
import { registerSearchAttributes } from './search-attributes.ts';
import { builtWorkflows } from './workflow-bundle.ts';

const gateways = { sandbox: createSandboxGateway } satisfies Record<
  Config['PAYMENT_GATEWAY'],
  (database: Pool) => PaymentGateway
>;

await runProcess('worker', async (config, log) => {
  installTemporalRuntime(log);
  await prepareDatabase(config.DATABASE_URL, config.SEED_EVENTS);
  const connection = await reach('Temporal', 'TEMPORAL_ADDRESS', () =>
    NativeConnection.connect({ address: config.TEMPORAL_ADDRESS }),
  );
  const namespace = config.TEMPORAL_NAMESPACE;
  await registerSearchAttributes(connection, namespace);
  const database = connectPostgres(config.DATABASE_URL, 20, log, { byKey: true });
  const audited = connectPostgres(config.DATABASE_URL, 4, log); // each statement looks at all of an event
  const redis = connectRedis(config.REDIS_URL, log);
  const dataConverter = createDataConverter(createPayloadCodec(config.ENCRYPTION_KEY));
  const temporal = new Client({ connection, namespace, dataConverter });
  const seatLocks = createSeatLocks(redis, log);
  const activities = createActivities({
    database,
    seatLocks,
    gateway: gateways[config.PAYMENT_GATEWAY](database),
    smtpUrl: config.SMTP_URL,
    mailFrom: config.MAIL_FROM,
    log,
  });
  const audits = createAudits({ database: audited, redis, temporal }, seatLocks, log);
  const common = {
    connection,
    namespace,
    dataConverter,
    deploymentVersion: config.DEPLOYMENT_VERSION,
    workflows: builtWorkflows,
  };
  const workers = [
    ...(await createWorkers({ ...common, activities })),
    await createAuditWorker({ ...common, seats: activities.seats, audits }),
  ];
  const running = Promise.all(workers.map((worker) => worker.run()));
  running.catch((error: unknown) => {
    log.fatal({ err: error }, 'a worker failed');
    process.exit(1);
  });
  const schedules = keepAuditSchedules({ temporal, database: audited, redis }, log);
  return {
    async stop() {
      await schedules.stop();
      for (const worker of workers) worker.shutdown();
      await running;
      await connection.close();
      redis.disconnect();
      await database.end();
      await audited.end();
    },
  };
});
