/** What holds of every route, and the routes for operators. */
import { Registry } from 'prom-client';
import { afterAll, describe, expect, test } from 'vitest';
import { exposeAudits } from '../../api/audit-metrics.ts';
import { freePort } from '../../dev/ports.ts';
import { connectPostgres } from '../../runtime/connections.ts';
import { buyerAt } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addEvent } from '../support/house.ts';
import { exchange } from '../support/raw-http.ts';
import { log } from '../support/stores.ts';
import { startApi, startSystem } from '../support/system.ts';

const system = await startSystem();
const buyer = buyerAt(system.url);
afterAll(system.stop);

describe('every answer', () => {
  test.each([
    ['GET', '/livez'],
    ['GET', '/readyz'],
    ['GET', '/metrics'],
    ['GET', '/openapi.json'],
    ['GET', '/docs'],
    ['GET', '/nothing'],
    ['GET', '/api/v1/events?limit=0'],
    ['GET', '/api/v1/events/%zz'],
    ['GET', `/api/v1/events/${'x'.repeat(200)}`],
    ['GET', '/api/v1/events/demo-theatre'],
    ['HEAD', '/api/v1/events/demo-theatre'],
    ['GET', '/api/v1/events/demo-theatre/seats'],
    ['GET', '/api/v1/events/demo-theatre/seats/stream'],
    ['HEAD', '/api/v1/events/demo-theatre/seats/stream'],
    ['POST', '/api/v1/reservations'],
    ['PATCH', '/api/v1/reservations'],
    ['OPTIONS', '/api/v1/reservations'],
  ])('%s %s has an X-Request-Id: the one that was sent', async (method, path) => {
    const leave = new AbortController();
    const headers = { 'x-request-id': 'my-request' };
    const { headers: answered } = await fetch(`${system.url}${path}`, { method, headers, signal: leave.signal });
    leave.abort();
    expect(answered.get('x-request-id')).toBe('my-request');
  });

  test.each(['', 'with space', 'x'.repeat(500), 'ümlaut'])('an X-Request-Id "%s" is replaced', async (given) => {
    const { headers } = await fetch(`${system.url}/livez`, { headers: { 'x-request-id': given } });
    expect(headers.get('x-request-id')).toMatch(/^[!-~]{8,128}$/);
    expect(headers.get('x-request-id')).not.toBe(given);
  });

  test('what is not HTTP is a 400 problem with an X-Request-Id', async () =>
    expectProblem(await exchange(system.url, 'What is this?\r\n\r\n'), 400, 'INVALID_REQUEST'));
});

test.each(['/events/', '/events/demo-theatre/', '/events/demo-theatre/seats/'])(
  'a slash at the end makes no difference: %s',
  async (path) => {
    const reply = await buyer.call('GET', path);
    expect(reply.status).toBe(200);
    expect(reply.body).toEqual((await buyer.call('GET', path.slice(0, -1))).body);
  },
);

describe('operations', () => {
  const get = (path: string) => fetch(`${system.url}${path}`);

  test('/livez answers 200', async () => expect((await get('/livez')).status).toBe(200));

  test('/readyz names each dependency and its state', async () => {
    const reply = await get('/readyz');
    expect(reply.status).toBe(200);
    expect(await reply.json()).toEqual({
      status: 'ready',
      dependencies: {
        postgres: { state: 'up', needed: true },
        redis: { state: 'up', needed: false },
        temporal: { state: 'up', needed: true },
      },
    });
  });

  test('/readyz names the Redis of the maps where that is another', async () => {
    const apart = { REDIS_URL: 'redis://locks', REDIS_CACHE_URL: 'redis://maps' };
    const api = await startApi(system.stores, 600, undefined, apart);
    const reply = await fetch(`${api.url}/readyz`);
    expect(await reply.json()).toMatchObject({ dependencies: { redis_cache: { state: 'up', needed: false } } });
    await api.stop();
  });

  test('/metrics is Prometheus text that counts requests', async () => {
    const counted = async () => {
      const reply = await get('/metrics');
      expect(reply.headers.get('content-type')).toMatch(/^text\/plain/);
      const count = /^http_request_duration_seconds_count\{.*route="\/api\/v1\/events",status="200"\} (\d+)$/m;
      return Number(count.exec(await reply.text())?.[1] ?? 0);
    };
    const before = await counted();
    for (let n = 0; n < 300; n++) await get('/api/v1/events');
    expect(await counted()).toBe(before + 300);
  });

  test('/metrics tells what the last audits found, by kind and without naming events', async () => {
    const over = await addEvent(system.stores.database, 0);
    await system.stores.database.query(`UPDATE events SET date = now() - interval '1 day' WHERE event_id = $1`, [
      over.event_id,
    ]);
    await system.stores.database.query(
      `INSERT INTO audits VALUES ('demo-theatre', now() - interval '5 s', '{ "stale_locks": 2, "lost_seats": 0 }', 7),
                                 ('${over.event_id}', now() - interval '1 day', '{ "stale_locks": 4 }', 0)`,
    );
    expect(await (await get('/metrics')).text()).toMatch(/^holdfast_audit_age_seconds \+Inf$/m); // demo-stadium
    await system.stores.database.query(
      `INSERT INTO audits VALUES ('demo-stadium', now(), '{ "stale_locks": 1, "lost_seats": 0 }', 1)`,
    );
    await system.stores.database.query(
      `INSERT INTO reservations VALUES ('res_healed', 'demo-theatre', 'ann', '{}', 0, 'EUR', 'EXPIRED', 1, now(), now())`,
    );
    await system.stores.database.query('UPDATE reservations SET healed_at = now()');
    const metrics = await (await get('/metrics')).text();
    expect(metrics).toContain('holdfast_audit_faults{kind="stale_locks"} 3');
    expect(metrics).toContain('holdfast_audit_faults{kind="lost_seats"} 0');
    expect(metrics).toContain('holdfast_audit_healed{what="expired"} 1');
    expect(metrics).toContain('holdfast_audit_healed{what="locks"} 8');
    expect(metrics).toMatch(/^holdfast_audit_age_seconds [5-9]/m);
    expect(metrics).not.toContain('demo-');
  });

  test('audits that cannot be read have no metrics, rather than good ones', async () => {
    const registry = new Registry();
    const nowhere = connectPostgres(`postgres://ann@127.0.0.1:${await freePort()}/holdfast`, 1, log);
    exposeAudits(registry, nowhere);
    expect(await registry.metrics()).not.toMatch(/^holdfast_audit_/m);
    await nowhere.end();
  });

  test('/openapi.json describes every call of the contract as OpenAPI 3.1', async () => {
    expect(await (await get('/openapi.json')).json()).toMatchObject({
      openapi: expect.stringMatching(/^3\.1\./),
      paths: {
        '/api/v1/events': { get: { responses: { 200: {}, 400: {} } } },
        '/api/v1/events/{event_id}': { get: { responses: { 200: {}, 404: {} } } },
        '/api/v1/events/{event_id}/seats': { get: { responses: { 200: {}, 304: {}, 400: {}, 404: {} } } },
        '/api/v1/events/{event_id}/seats/stream': { get: { responses: { 200: {}, 404: {} } } },
        '/api/v1/reservations': { post: { responses: { 201: {}, 400: {}, 404: {}, 409: {}, 422: {}, 503: {} } } },
        '/api/v1/reservations/{reservation_id}': {
          get: { responses: { 200: {}, 404: {} } },
          delete: { responses: { 200: {}, 404: {}, 409: {}, 410: {} } },
        },
        '/api/v1/bookings': { post: { responses: { 201: {}, 202: {}, 402: {}, 404: {}, 409: {}, 410: {} } } },
        '/api/v1/bookings/{booking_id}': { get: { responses: { 200: {}, 404: {} } } },
      },
    });
  });

  test('/docs is a page', async () => {
    for (const path of ['/docs', '/docs/', '/docs?theme=dark']) {
      const reply = await fetch(`${system.url}${path}`, { redirect: 'manual' });
      expect(reply.status, path).toBe(200);
      expect(reply.headers.get('content-type')).toMatch(/^text\/html/);
      const script = /<script src="(.+?)"/.exec(await reply.text())?.[1] ?? '';
      expect((await get(script)).headers.get('content-type')).toMatch(/javascript/);
    }
  });
});
