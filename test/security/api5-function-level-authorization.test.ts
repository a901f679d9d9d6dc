/** OWASP API5:2023, Broken Function Level Authorization: what is for operators is for nobody else. */
import fastify from 'fastify';
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createAuthentication, guardRoutes } from '../../api/auth.ts';
import { sendProblem } from '../../api/failures.ts';
import type { Api } from '../../api/http.ts';
import { guarded, startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { log } from '../support/stores.ts';
import { operatorToken, tokenFor } from '../support/tokens.ts';

let api: GuardedApi;
beforeAll(async () => {
  api = await startGuardedApi();
});
afterAll(() => api.stop());

async function readMetrics(token?: string) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const { status, headers: answered } = await fetch(`${api.url}/metrics`, { headers });
  return [status, answered.get('www-authenticate')];
}

test('the metrics are told to an operator alone, on this machine too', async () => {
  expect(await readMetrics(await operatorToken())).toEqual([200, null]);
  expect(await readMetrics()).toEqual([401, 'Bearer realm="holdfast"']);
  expect(await readMetrics(await tokenFor('ann'))).toEqual([
    403,
    'Bearer realm="holdfast", error="insufficient_scope"',
  ]);
});

test.each<JWTPayload>([
  { roles: 'operator' },
  { roles: ['Operator'] },
  { roles: ['operators', ''] },
  { roles: { operator: true } },
  { roles: [['operator']] },
  { role: 'operator' },
  { scope: 'operator' },
  { sub: 'operator' },
])('%j makes no operator', async (claims) => {
  expect((await readMetrics(await tokenFor('ann', claims)))[0]).toBe(403);
});

test('a route that does not say who may call it is for operators', async () => {
  const app: Api = fastify({ loggerInstance: log });
  app.setErrorHandler(sendProblem);
  guardRoutes(app, createAuthentication(guarded(), log));
  app.get('/forgotten', async () => 'a secret');
  const ask = async (token: string) =>
    (await app.inject({ url: '/forgotten', headers: { authorization: `Bearer ${token}` } })).statusCode;
  expect((await app.inject('/forgotten')).statusCode).toBe(401);
  expect(await ask(await tokenFor('ann'))).toBe(403);
  expect(await ask(await operatorToken())).toBe(200);
});

test.each(['x-forwarded-for', 'x-real-ip', 'x-user', 'x-role', 'x-original-url', 'x-http-method-override'])(
  'the header %s changes nothing',
  async (header) => {
    const headers = { authorization: `Bearer ${await tokenFor('ann')}`, [header]: '127.0.0.1, operator, /livez' };
    expect((await fetch(`${api.url}/metrics`, { headers })).status).toBe(403);
  },
);

test.each(['PUT', 'PATCH', 'DELETE', 'POST', 'OPTIONS'])('%s does nothing to what is only read', async (method) => {
  for (const path of ['/api/v1/events', '/api/v1/events/demo-theatre', '/metrics']) {
    const headers = { authorization: `Bearer ${await tokenFor('ann')}` };
    expect((await fetch(`${api.url}${path}`, { method, headers })).status).toBe(405);
  }
});
