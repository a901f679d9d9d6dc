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
  const isCacheApart = config.REDIS_CACHE_URL !== config.REDIS_URL;
  const checks = [
    { name: 'postgres', needed: true, ping: () => queries.ping() },
    { name: 'redis', needed: false, ping: () => redis.ping() },
    ...(isCacheApart ? [{ name: 'redis_cache', needed: false, ping: () => cache.ping() }] : []),
    { name: 'temporal', needed: true, ping: () => workflows.ping() },
  ];

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
      const states = await Promise.all(
        checks.map(async ({ name, needed, ping }) => {
          const state = (await isUp(ping)) ? ('up' as const) : ('down' as const);
          return [name, { state, needed }] as const;
        }),
      );
      const dependencies = Object.fromEntries(states);
      if (states.every(([, { state, needed }]) => state === 'up' || !needed)) {
        return { status: 'ready' as const, dependencies };
      }
      throw new Problem('NOT_READY', 'See which of the dependencies is down.', { dependencies });
    },
  );

  api.get('/metrics', { config: { access: 'operator' }, schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.metrics()),
  );
}
