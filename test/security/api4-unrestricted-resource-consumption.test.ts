/** OWASP API4:2023, Unrestricted Resource Consumption: limits on calls, on bodies, and on the time that a request takes. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buyerAt, type ProblemBody } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { parse } from '../support/raw-http.ts';
import { tokenFor } from '../support/tokens.ts';

const PER_USER = 5;
const PER_ADDRESS = 8;

let api: GuardedApi;
/** Goes on beside the other tests. */
let trickling: Promise<Awaited<ReturnType<typeof trickle>>[]>;
beforeAll(async () => {
  api = await startGuardedApi({
    RATE_LIMIT_USER: String(PER_USER),
    RATE_LIMIT_ADDRESS: String(PER_ADDRESS),
    TRUST_PROXY: '1',
  });
  trickling = Promise.all([trickle(SLOW_HEADERS), trickle(slowBody(await tokenFor('dora')))]);
});
afterAll(() => api.stop());

const write = async (user: string, headers: Record<string, string> = {}) =>
  buyerAt(api.url, await tokenFor(user)).call<ProblemBody>('DELETE', '/reservations/res_1', undefined, headers);

const limited = (headers: Headers) =>
  ['ratelimit-policy', 'ratelimit', 'retry-after'].map((name) => headers.get(name)?.replace(/t=\d+/, 't=…'));

describe('writes of one user', () => {
  test('are limited, are told how many are left, and when to come back', async () => {
    for (let left = PER_USER - 1; left >= 0; left--) {
      const { status, headers } = await write('ann');
      expect(status).toBe(404);
      expect(limited(headers)).toEqual([`"user";q=${PER_USER};w=10`, `"user";r=${left};t=…`, undefined]);
    }
    const refused = await write('ann');
    expectProblem(refused, 429, 'RATE_LIMITED');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(10);
    expect((await buyerAt(api.url, await tokenFor('ann')).reservation('res_1')).status, 'reads go on').toBe(404);
  });

  test('are not those of another one, and a forged token counts for nobody', async () => {
    const forged = `${await tokenFor('bob')}x`;
    for (let n = 0; n <= PER_USER; n++) await buyerAt(api.url, forged).release('res_1');
    expect((await write('bob')).status).toBe(404);
  });
});

describe('requests from one address', () => {
  const from = (address: string, n: number) => write(`user-${address}-${n}`, { 'x-forwarded-for': address });

  test('are limited, whoever sends them, where a trusted proxy tells of it', async () => {
    for (let n = 0; n < PER_ADDRESS; n++) expect((await from('192.0.2.1', n)).status).toBe(404);
    const refused = await from('192.0.2.1', PER_ADDRESS);
    expectProblem(refused, 429, 'RATE_LIMITED');
    expect(limited(refused.headers).slice(0, 2)).toEqual([`"address";q=${PER_ADDRESS};w=10`, '"address";r=0;t=…']);
    expect((await from('192.0.2.2', 0)).status).toBe(404);
  });

  test('without a token count as well, also reads', async () => {
    const read = () => fetch(`${api.url}/api/v1/reservations/res_1`, { headers: { 'x-forwarded-for': '192.0.2.3' } });
    const statuses = [];
    for (let n = 0; n <= PER_ADDRESS; n++) statuses.push((await read()).status);
    expect(statuses).toEqual([...Array.from({ length: PER_ADDRESS }, () => 401), 429]);
  });

  test('are counted for a whole network of IPv6', async () => {
    const statuses = [];
    for (let n = 0; n <= PER_ADDRESS; n++) statuses.push((await from(`2001:db8::${n + 1}`, n)).status);
    expect(statuses.at(-1)).toBe(429);
  });

  test('are not limited on this machine; one that a proxy claims to be this machine is not', async () => {
    for (let n = 0; n <= PER_ADDRESS; n++) expect((await write(`local-${n}`)).status).toBe(404);
    const statuses = [];
    for (let n = 0; n <= PER_ADDRESS; n++) statuses.push((await from('127.0.0.2', n)).status);
    expect(statuses.at(-1)).toBe(429);
  });

  test('public reads are not counted', async () => {
    for (let n = 0; n <= PER_ADDRESS; n++) {
      const { status } = await fetch(`${api.url}/api/v1/events`, { headers: { 'x-forwarded-for': '192.0.2.9' } });
      expect(status).toBe(200);
    }
  });
});

test('a body over 64 KiB is refused before it is read', async () => {
  const body = { payment_token: 'x'.repeat(70_000), reservation_id: 'res_1' };
  expectProblem(
    await buyerAt(api.url, await tokenFor('carl')).call<ProblemBody>('POST', '/bookings', body),
    413,
    'BODY_TOO_LARGE',
  );
});

const SLOW_HEADERS = 'GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: ';
const slowBody = (token: string) =>
  `POST /api/v1/bookings HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n` +
  'Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"a":"';

/** Headers have 8 s, and the whole request 10 s, looked at each second; Node by itself gives 60 and 300. */
const LONGEST_MS = 20_000;

/** A client that sends one byte at a time; resolves when it is cut off. */
async function trickle(start: string) {
  const { hostname, port } = new URL(api.url);
  const startedAt = Date.now();
  const socket = connect(Number(port), hostname);
  const received: Buffer[] = [];
  socket.on('data', (data: Buffer) => received.push(data));
  socket.on('error', () => undefined); // a byte that is sent after the end
  socket.write(start);
  const dripping = setInterval(() => socket.write('x'), 200);
  await once(socket, 'close');
  clearInterval(dripping);
  return { ms: Date.now() - startedAt, text: Buffer.concat(received).toString() };
}

test('a client that trickles its headers or its body is told 408 and cut off', async () => {
  for (const { ms, text } of await trickling) {
    expectProblem(parse(text), 408, 'REQUEST_TIMEOUT');
    expect(ms).toBeLessThan(LONGEST_MS);
  }
});
