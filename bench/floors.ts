/**
 * The floors, each behind a bare Fastify route: what a grant costs at least.
 * F1: the lock and the hold, without a workflow. F2: a bare workflow, started eagerly. F3: a start that nobody works on.
 * F1 + F2: a bare workflow whose activity is F1, which is the least that a durable grant can be.
 */
import { randomUUID } from 'node:crypto';
import { get, type IncomingMessage } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { activityInfo } from '@temporalio/activity';
import { Client } from '@temporalio/client';
import { NativeConnection, Worker, bundleWorkflowCode } from '@temporalio/worker';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { createSeatActivities } from '../activities/index.ts';
import type { HoldResult } from '../activities/seat-holds.ts';
import { createSeatLocks } from '../activities/seat-locks.ts';
import type { Config } from '../runtime/config.ts';
import { connectPostgres, connectRedis } from '../runtime/connections.ts';
import type { Logger } from '../runtime/logger.ts';
import { runProcess } from '../runtime/process.ts';
import { buildAttributes } from '../worker/create-worker.ts';
import { installTemporalRuntime } from '../worker/runtime.ts';
import type { Attempt } from './floor-workflow.ts';

const HOLD_MS = 600_000;

const answer = (reply: FastifyReply, result?: HoldResult) =>
  reply.code(result && 'hold' in result ? 201 : 409).send(result);

type BareHold = (attempt: Attempt) => Promise<HoldResult>;

function createBareHold(config: Config, log: Logger): BareHold {
  const database = connectPostgres(config.DATABASE_URL, 20, log, { byKey: true });
  const redis = connectRedis(config.REDIS_URL, log);
  const seats = createSeatActivities(database, createSeatLocks(redis, log));
  return (attempt) =>
    seats.holdSeats({
      ...attempt,
      reservation_id: `res_${randomUUID()}`,
      hold_seconds: HOLD_MS / 1_000,
      rescue: false,
    });
}

async function addBareWorkflows(app: FastifyInstance, config: Config, hold: BareHold): Promise<void> {
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  const namespace = config.TEMPORAL_NAMESPACE;
  const client = new Client({ connection, namespace });
  const ran = new Map<string, (result?: HoldResult) => void>();
  const workflowsPath = fileURLToPath(new URL('./floor-workflow.js', import.meta.url));
  const preloadModules = ['@temporalio/workflow', workflowsPath]; // as ours are
  const workflowBundle = await bundleWorkflowCode({ workflowsPath, preloadModules });
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue: 'floor',
    workflowBundle,
    maxCachedWorkflows: 2_000,
    maxConcurrentWorkflowTaskExecutions: 100,
    activities: {
      act: async (attempt?: Attempt) => {
        const result = attempt && (await hold(attempt));
        const workflowId = activityInfo().workflowExecution?.workflowId ?? '';
        ran.get(workflowId)?.(result);
        ran.delete(workflowId);
      },
    },
  });
  void worker.run();
  const typedSearchAttributes = buildAttributes(worker);
  const start = (taskQueue: string, workflowId: string, ...attempt: Attempt[]) =>
    client.workflow.start('floor', {
      taskQueue,
      workflowId,
      args: [HOLD_MS, ...attempt],
      requestEagerStart: true,
      typedSearchAttributes,
    });
  async function run(...attempt: Attempt[]): Promise<HoldResult | undefined> {
    const workflowId = `floor-${randomUUID()}`;
    const done = new Promise<HoldResult | undefined>((resolve) => ran.set(workflowId, resolve));
    await start('floor', workflowId, ...attempt);
    return done;
  }
  app.post('/f2', async (_request, reply) => {
    await run();
    return reply.code(201).send({});
  });
  app.post<{ Body: Attempt }>('/f1+f2', async ({ body }, reply) => answer(reply, await run(body)));
  app.post('/f3', async (_request, reply) => {
    await start('nobody', `floor-${randomUUID()}`);
    return reply.code(201).send({});
  });
}

/** The same bytes as a seat map, from memory; a client that has them is told so. */
async function addStatic(app: FastifyInstance, url: string): Promise<void> {
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    get(url, { headers: { 'accept-encoding': 'br' } }, resolve).on('error', reject);
  });
  const body = await buffer(incoming);
  const { etag = '', 'cache-control': cacheControl = '' } = incoming.headers;
  app.get('/static', async (request, reply) => {
    reply.headers({ etag, 'cache-control': cacheControl, vary: 'Accept-Encoding' });
    if (request.headers['if-none-match'] === etag) return reply.code(304).send();
    return reply.header('content-encoding', 'br').type('application/json').send(body);
  });
}

await runProcess('floors', async (config, log) => {
  installTemporalRuntime(log);
  const app = fastify();
  const hold = createBareHold(config, log);
  app.post<{ Body: Attempt }>('/f1', async ({ body }, reply) => answer(reply, await hold(body)));
  await addBareWorkflows(app, config, hold);
  const staticUrl = process.env['STATIC_URL'];
  if (staticUrl) await addStatic(app, staticUrl);
  await app.listen({ host: config.HOST, port: config.PORT });
  return { stop: () => app.close() };
});
