import { Type } from 'typebox';
import { setTimeout as delay } from 'node:timers/promises';
import { type Registry } from 'prom-client';
import type { Api, ApiDependencies } from '../http.ts';
import { Problem, refusals } from '../problems.ts';

const CHECK_WITHIN_MS = 1_000;

const DependencyState = Type.Object({ state: Type.Enum(['up', 'down']), needed: Type.Boolean() });
const Dependencies = Type.Record(Type.String(), DependencyState);
const Readiness = Type.Object({ status: Type.Literal('ready'), dependencies: Dependencies });

async function isUp(check: () => Promise<unknown>): Promise<boolean> {
  const late = new AbortController();
  try {
    return await Promise.race([check().then(() => true), delay(CHECK_WITHIN_MS, false, { signal: late.signal })]);
  } catch {
    return false;
  } finally {
    late.abort();
  }
}

/** For orchestrators and monitoring; no base path. */
export async function operationRoutes(
  api: Api,
  { config, queries, redis, cache, workflows, metrics }: ApiDependencies & { metrics: Registry },
): Promise<void> {
  api.get(
    '/livez',
    {
      config: { access: 'public' },
      schema: {
        summary: 'The process lives',
        tags: ['operations'],
        response: { 200: Type.Object({ status: Type.Literal('live') }), ...refusals() },
      },
    },
    async () => ({ status: 'live' as const }),
  );

  api.get(
    '/readyz',
    {
      config: { access: 'public' },
      schema: {
        summary: 'Each dependency and its state',
        tags: ['operations'],
        response: { 200: Readiness, ...refusals(503) },
      },
    },
    async () => {
      const [postgres, redisIsUp, cacheIsUp, temporal] = await Promise.all([
        isUp(() => queries.ping()),
        isUp(() => redis.ping()),
        isUp(() => cache.ping()),
        isUp(() => workflows.ping()),
      ]);
      const isCacheApart = config.REDIS_CACHE_URL !== config.REDIS_URL;
      const state = (up: boolean) => (up ? ('up' as const) : ('down' as const));
      const dependencies = {
        postgres: { state: state(postgres), needed: true },
        redis: { state: state(redisIsUp), needed: false },
        ...(isCacheApart && { redis_cache: { state: state(cacheIsUp), needed: false } }),
        temporal: { state: state(temporal), needed: true },
      };
      if (postgres && temporal) return { status: 'ready' as const, dependencies };
      throw new Problem('NOT_READY', 'See which of the dependencies is down.', { dependencies });
    },
  );

  api.get('/metrics', { config: { access: 'operator' }, schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.metrics()),
  );
}
