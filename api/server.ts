/** `npm run api`: serves the API until it is stopped. */
import { Client, Connection } from '@temporalio/client';
import { connectPostgres, connectRedis } from '../runtime/connections.ts';
import { prepareDatabase } from '../db/prepare.ts';
import { runProcess } from '../runtime/process.ts';
import { buildApp } from './app.ts';
import { createCatalog } from './catalog.ts';
import { createIdempotency } from './idempotency.ts';
import { createQueries } from './queries.ts';
import { createReservationWorkflows } from './reservation-workflows.ts';
import { createSeatMaps } from './seat-maps.ts';
import { createSeatStream } from './seat-stream.ts';

await runProcess('api', async (config, log) => {
  await prepareDatabase(config.DATABASE_URL, config.SEED_EVENTS);
  const connection = Connection.lazy({ address: config.TEMPORAL_ADDRESS });
  const client = new Client({ connection, namespace: config.TEMPORAL_NAMESPACE });
  const database = connectPostgres(config.DATABASE_URL, 20, log);
  const redis = connectRedis(config.REDIS_URL, log);
  const cache = connectRedis(config.REDIS_CACHE_URL, log);
  const queries = createQueries(database);
  const seatStream = createSeatStream(config.REDIS_URL, redis, log);
  const app = await buildApp({
    config,
    log,
    database,
    redis,
    queries,
    catalog: createCatalog(queries),
    seatMaps: createSeatMaps(cache, queries),
    seatStream,
    workflows: createReservationWorkflows(client),
    answerOnce: createIdempotency(database),
  });
  await app.listen({ host: config.HOST, port: config.PORT });
  return {
    async stop() {
      await app.close();
      seatStream.close();
      redis.disconnect();
      cache.disconnect();
      await connection.close();
      await database.end();
    },
  };
});
