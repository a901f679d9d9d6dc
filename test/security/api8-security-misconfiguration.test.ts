/** OWASP API8:2023, Security Misconfiguration: what a start refuses, what every answer carries, what no log line says. */
import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError, readSettings, requireKeyOrLoopback } from '../../runtime/config.ts';
import { createLogger } from '../../runtime/logger.ts';
import { buyerAt } from '../support/buyer.ts';
import { npm } from '../support/command.ts';
import { startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { addEvent } from '../support/house.ts';
import { exchange } from '../support/raw-http.ts';
import { JWT_SECRET, tokenFor } from '../support/tokens.ts';
import { until } from '../support/until.ts';

const ENCRYPTION_KEY = randomBytes(32).toString('base64');
const SHOP = 'https://shop.example';

let logged = '';
const logTo = new Writable({
  write(line: Buffer, _encoding, done) {
    logged += line.toString();
    done();
  },
});

let api: GuardedApi;
beforeAll(async () => {
  api = await startGuardedApi({ CORS_ORIGINS: SHOP }, createLogger('api', 'trace', logTo));
});
afterAll(() => api.stop());

describe('a start', () => {
  const start = (settings: NodeJS.ProcessEnv) => () =>
    requireKeyOrLoopback(readSettings({ ENCRYPTION_KEY, ...settings }));

  test.each(['0.0.0.0', '::', '192.0.2.1', 'box-office.example', '::ffff:192.0.2.1'])(
    'on %s without a key is refused, in one line that says how to mend it',
    (HOST) => {
      expect(start({ HOST })).toThrow(ConfigError);
      expect(start({ HOST })).toThrow(/^HOST is .*: set JWT_SECRET or JWKS_URL, or HOST=127\.0\.0\.1$/);
      expect(start({ HOST, JWT_SECRET })).not.toThrow();
      expect(start({ HOST, JWKS_URL: 'https://keys.example/' })).not.toThrow();
    },
  );

  test.each([undefined, '127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1', 'localhost'])(
    'on %s needs none',
    (HOST) => {
      expect(start({ HOST })).not.toThrow();
    },
  );

  test('with two kinds of keys, or a short secret, is refused', () => {
    expect(start({ JWT_SECRET, JWKS_URL: 'https://keys.example/' })).toThrow(/are both set/);
    expect(start({ JWT_SECRET: 'x'.repeat(31) })).toThrow(
      /^JWT_SECRET is wrong: set it to a secret of at least 32 bytes/,
    );
    expect(start({ JWT_SECRET: 'ü'.repeat(16) })).not.toThrow();
  });

  test.each(['start', 'api'])('npm run %s ends with that line and code 1', { timeout: 60_000 }, async (script) => {
    const addresses = { DATABASE_URL: 'postgres://a/b', REDIS_URL: 'redis://a', TEMPORAL_ADDRESS: 'a:1' };
    const settings = { ...addresses, HOST: '0.0.0.0', ENCRYPTION_KEY, DATA_DIR: '/nonexistent' };
    const command = npm(['run', '--silent', script], settings);
    expect(await command.ended).toBe(1);
    const lines = `${command.said.stdout}${command.said.stderr}`.trim().split('\n');
    expect(lines.filter((line) => !line.endsWith(' …'))).toEqual([
      expect.stringContaining('set JWT_SECRET or JWKS_URL'),
    ]);
  });
});

describe('every answer', () => {
  const expectGuarded = (headers: Headers, policy = "default-src 'none'; frame-ancestors 'none'") => {
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('content-security-policy')).toBe(policy);
    expect(headers.has('x-powered-by') || headers.has('server')).toBe(false);
  };

  test.each([
    ['GET', '/livez', 200],
    ['GET', '/openapi.json', 200],
    ['GET', '/api/v1/events', 200],
    ['GET', '/api/v1/events/demo-theatre/seats', 200],
    ['GET', '/api/v1/events/demo-theatre/seats', 200],
    ['GET', '/api/v1/events/none', 404],
    ['GET', '/nothing', 404],
    ['GET', '/api/v1/events/%zz', 400],
    ['PUT', '/api/v1/events', 405],
    ['GET', '/api/v1/reservations/res_1', 401],
    ['GET', '/metrics', 401],
  ])('to %s %s (%i) is guarded', async (method, path, status) => {
    const response = await fetch(`${api.url}${path}`, { method });
    expect(response.status).toBe(status);
    expectGuarded(response.headers);
    await response.body?.cancel();
  });

  test('to what is no HTTP, and a stream of seats, are as well', async () => {
    expectGuarded((await exchange(api.url, 'nonsense\r\n\r\n')).headers);
    const leave = new AbortController();
    const stream = await fetch(`${api.url}/api/v1/events/demo-theatre/seats/stream`, { signal: leave.signal });
    expectGuarded(stream.headers);
    leave.abort();
  });

  test('about a buyer is kept by nobody; seat maps and events may be', async () => {
    const ann = await api.as('ann');
    const { event_id, seat_ids } = await addEvent(api.stores.database, 2);
    const held = await ann.hold(event_id, seat_ids);
    const replies = [held, await ann.reservation(held.body.reservation_id), await ann.booking('none')];
    for (const { headers } of [...replies, await ann.hold(event_id, seat_ids)]) {
      expect(headers.get('cache-control')).toBe('no-store');
    }
    expect((await ann.call('GET', '/events')).headers.get('cache-control')).toMatch(/^public/);
    expect((await ann.call('GET', `/events/${event_id}/seats`)).headers.get('cache-control')).toMatch(/^public/);
  });

  test('to a page of the documentation lets it run what it needs, from here alone', async () => {
    const page = await fetch(`${api.url}/docs/`);
    const html = await page.text();
    const policy = page.headers.get('content-security-policy') ?? '';
    expectGuarded(page.headers, policy);
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    const loaded = [...html.matchAll(/\s(?:src|href)="([^"]+)"/g)].map(
      ([, address]) => new URL(address ?? '', page.url),
    );
    expect(loaded.map(({ origin }) => origin)).toEqual(loaded.map(() => api.url));
    for (const address of loaded) expect((await fetch(address)).status).toBe(200);
  });
});

describe('pages of other origins', () => {
  const ask = (path: string, origin: string, preflightOf?: string) =>
    fetch(`${api.url}${path}`, {
      method: preflightOf === undefined ? 'GET' : 'OPTIONS',
      headers: { origin, ...(preflightOf !== undefined && { 'access-control-request-method': preflightOf }) },
    });
  const allowed = ({ headers }: Response) => headers.get('access-control-allow-origin');

  test('may call where they are configured, with a token', async () => {
    const preflight = await ask('/api/v1/reservations', SHOP, 'POST');
    expect([preflight.status, allowed(preflight)]).toEqual([204, SHOP]);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization');
    expect(preflight.headers.get('access-control-allow-credentials')).toBeNull();
    expect(allowed(await ask('/api/v1/reservations/res_1', SHOP))).toBe(SHOP);
  });

  test.each(['https://evil.example', 'http://shop.example', 'https://shop.example.evil.example', 'null'])(
    'and none of %s may, but for what is public',
    async (origin) => {
      expect(allowed(await ask('/api/v1/reservations', origin, 'POST'))).toBeNull();
      expect(allowed(await ask('/api/v1/reservations/res_1', origin))).toBeNull();
      expect(allowed(await ask('/metrics', origin))).toBeNull();
    },
  );

  test('read what is public from a shared cache, whoever asked for it first', async () => {
    for (const path of ['/api/v1/events', '/api/v1/events/demo-theatre/seats']) {
      expect(allowed(await fetch(`${api.url}${path}`))).toBe('*');
      expect(allowed(await ask(path, SHOP))).toBe('*');
    }
  });
});

test('no log line has a token, a payment token or a key, whatever fails', async () => {
  const token = await tokenFor('ann');
  const ann = buyerAt(api.url, token);
  const { event_id, seat_ids } = await addEvent(api.stores.database, 1);
  const secrets = ['tok_secret_1', 'tok_secret_2', 'key-secret-3', 'tok_secret_4'];
  const held = await ann.holdOnce(event_id, seat_ids, 'ann', { 'idempotency-key': 'key-secret-3' });
  await ann.pay(held.body.reservation_id, 'tok_secret_1');
  await ann.call('POST', '/bookings', '{"payment_token":"tok_secret_2"');
  await ann.call('POST', '/bookings', { payment_token: 'tok_secret_2', reservation_id: { toString: 'tok_secret_2' } });
  await buyerAt(api.url, `${token}x`).reservation('res_1');
  await exchange(api.url, `GET / HTTP/9\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  // A failure that is logged, with all of it in the request.
  await api.stores.database.query('ALTER TABLE reservations RENAME TO reservations_away');
  const failed = await ann.pay(held.body.reservation_id, 'tok_secret_4', { 'idempotency-key': 'key-secret-3' });
  await api.stores.database.query('ALTER TABLE reservations_away RENAME TO reservations');
  expect([failed.status, failed.body.code]).toEqual([500, 'INTERNAL_ERROR']);
  expect(JSON.stringify(failed.body)).not.toMatch(/reservations_away|relation|SELECT/);
  await until('the failure is logged', async () => logged.includes('a request failed'));
  for (const secret of [...secrets, token, token.split('.')[2] ?? token, JWT_SECRET]) {
    expect(logged.includes(secret), secret).toBe(false);
  }
});
