/** OWASP API9:2023, Improper Inventory Management: what is served is documented, and nothing else is there. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { readOperations } from '../support/open-api.ts';
import { tokenFor } from '../support/tokens.ts';

let api: GuardedApi;
beforeAll(async () => {
  api = await startGuardedApi();
});
afterAll(() => api.stop());

/** An operation that is added is added here too: by hand, so that somebody thinks of who may call it. */
const PUBLIC = [
  'GET /api/v1/events',
  'GET /api/v1/events/{event_id}',
  'GET /api/v1/events/{event_id}/seats',
  'GET /api/v1/events/{event_id}/seats/layouts/{layout_id}',
  'GET /api/v1/events/{event_id}/seats/stream',
  'GET /livez',
  'GET /readyz',
];
const OF_THE_BUYER = [
  'DELETE /api/v1/reservations/{reservation_id}',
  'GET /api/v1/bookings/{booking_id}',
  'GET /api/v1/reservations/{reservation_id}',
  'GET /api/v1/sandbox/charges',
  'POST /api/v1/bookings',
  'POST /api/v1/reservations',
];

test('these operations are public, these are the buyer’s, and there are no others', async () => {
  const operations = await readOperations(api.url);
  const names = (security: boolean) =>
    operations
      .filter((operation) => Boolean(operation.security) === security)
      .map(({ method, path }) => `${method} ${path}`)
      .sort();
  expect(names(false)).toEqual(PUBLIC);
  expect(names(true)).toEqual(OF_THE_BUYER);
});

test('what is said to be public needs no token', async () => {
  for (const operation of PUBLIC.filter((it) => !it.endsWith('/stream'))) {
    const path = operation.replace('GET ', '').replace('{event_id}', 'demo-theatre').replace('{layout_id}', 'none');
    expect([200, 404], operation).toContain((await fetch(`${api.url}${path}`)).status);
  }
});

test.each([
  '/api',
  '/api/v0/events',
  '/api/v2/events',
  '/v1/events',
  '/admin',
  '/debug',
  '/status',
  '/health',
  '/graphql',
  '/.env',
  '/.git/config',
  '/api/v1/users',
  '/api/v1/reservations/../../../metrics2',
  '/documentation',
  '/api/v1/sandbox',
])('nothing is at %s', async (path) => {
  const headers = { authorization: `Bearer ${await tokenFor('ann', { roles: ['operator'] })}` };
  expect((await fetch(`${api.url}${path}`, { headers })).status).toBe(404);
});
