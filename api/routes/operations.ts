import { Type } from 'typebox';
import { setTimeout as delay } from 'node:timers/promises';
import { type Registry } from 'prom-client';
import type { Api, ApiDependencies } from '../http.ts';

const CHECK_WITHIN_MS = 1_000;

const DependencyState = Type.Object({ state: Type.Enum(['up', 'down']), needed: Type.Boolean() });
const Readiness = Type.Object({
  status: Type.Enum(['ready', 'not ready']),
  dependencies: Type.Record(Type.String(), DependencyState),
});

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
  { queries, redis, workflows, metrics }: ApiDependencies & { metrics: Registry },
): Promise<void> {
  api.get(
    '/livez',
    { config: { access: 'public' }, schema: { summary: 'The process lives', tags: ['operations'] } },
    async () => ({ status: 'live' }),
  );

  api.get(
    '/readyz',
    {
      config: { access: 'public' },
      schema: {
        summary: 'Each dependency and its state',
        tags: ['operations'],
        response: { 200: Readiness, 503: Readiness },
      },
    },
    async (_request, reply) => {
      const [postgres, redisIsUp, temporal] = await Promise.all([
        isUp(() => queries.ping()),
        isUp(() => redis.ping()),
        isUp(() => workflows.ping()),
      ]);
      const state = (up: boolean) => (up ? ('up' as const) : ('down' as const));
      const ready = postgres && temporal;
      return reply.code(ready ? 200 : 503).send({
        status: ready ? ('ready' as const) : ('not ready' as const),
        dependencies: {
          postgres: { state: state(postgres), needed: true },
          redis: { state: state(redisIsUp), needed: false },
          temporal: { state: state(temporal), needed: true },
        },
      });
    },
  );

  api.get('/metrics', { config: { access: 'operator' }, schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.metrics()),
  );
}
