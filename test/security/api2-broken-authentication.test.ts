/** OWASP API2:2023, Broken Authentication: forged tokens, and none. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { createAuthentication, type Authenticate } from '../../api/auth.ts';
import { Problem } from '../../api/problems.ts';
import { readSettings } from '../../runtime/config.ts';
import { buyerAt, type ProblemBody } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { createRandom } from '../../bench/random.ts';
import { AUDIENCE, ISSUER, forgeries, hmac, jwt, rsa } from '../support/forged-tokens.ts';
import { startGuardedApi, type GuardedApi } from '../support/guarded-api.ts';
import { readOperations } from '../support/open-api.ts';
import { inTime } from '../support/in-time.ts';
import { listenAt } from '../support/listen.ts';
import { log } from '../support/stores.ts';
import { JWT_SECRET, inAnHour, tokenFor } from '../support/tokens.ts';

const FORGERIES = 2_000;
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const DEMANDS = { JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE };

const rsaKeys = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = rsaKeys();
const publicJwk = { ...key.publicKey.export({ format: 'jwk' }), kid: 'first', alg: 'RS256', use: 'sig' };
const publicTexts = [
  key.publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  key.publicKey.export({ format: 'pem', type: 'pkcs1' }).toString(),
  JSON.stringify(publicJwk),
  '',
];

let api: GuardedApi;
beforeAll(async () => {
  api = await startGuardedApi(DEMANDS);
});
afterAll(() => api.stop());

/** So many forgeries, of every kind in turn. */
function forge(count: number, kinds: ReturnType<typeof forgeries>) {
  const makers = Object.entries(kinds);
  return Array.from({ length: count }, (_, n) => {
    const [kind, make] = makers[n % makers.length] ?? ['none', () => ''];
    return { kind, token: make() };
  });
}

/** The status with which a token is refused. */
async function refusal(authenticate: Authenticate, token: string) {
  const answer: unknown = await authenticate(`Bearer ${token}`).catch((error: unknown) => error);
  return answer instanceof Problem ? answer.status : answer;
}

function authenticator(settings: NodeJS.ProcessEnv): Authenticate {
  const made = createAuthentication(readSettings({ ...DEMANDS, ...settings }), log);
  if (!made) throw new TypeError('a key is configured');
  return made;
}

const good = (sub: string) => ({ sub, exp: inAnHour(), iss: ISSUER, aud: AUDIENCE });

const sharedSecret = {
  header: { alg: 'HS256' },
  sign: hmac(JWT_SECRET),
  publicTexts,
  foreign: [hmac(randomBytes(32)), hmac(''), hmac(JWT_SECRET.slice(0, -1)), hmac(JWT_SECRET.toUpperCase())],
};
const keySet = {
  header: { alg: 'RS256', kid: 'first' },
  sign: rsa(key.privateKey),
  publicTexts,
  foreign: [rsa(rsaKeys().privateKey), hmac(JWT_SECRET)],
};

test(`none of ${FORGERIES} tokens forged against a shared secret is admitted (SEED=${SEED})`, async () => {
  const authenticate = authenticator({ JWT_SECRET });
  const genuine = jwt(sharedSecret.header, good('ann'), sharedSecret.sign);
  expect(await authenticate(`Bearer ${genuine}`)).toEqual({ user_id: 'ann', isOperator: false });
  for (const { kind, token } of forge(FORGERIES, forgeries(sharedSecret, createRandom(SEED)))) {
    expect(await refusal(authenticate, token), `${kind}: ${token}`).toBe(401);
  }
});

test(`the API refuses each kind of them as an invalid token (SEED=${SEED})`, async () => {
  const genuine = jwt(sharedSecret.header, good('ann'), sharedSecret.sign);
  const ask = (token: string) => buyerAt(api.url, token).call<ProblemBody>('GET', '/reservations/res_1');
  expectProblem(await ask(genuine), 404, 'RESERVATION_NOT_FOUND');
  for (const { token } of forge(45, forgeries(sharedSecret, createRandom(SEED)))) {
    const reply = await ask(token);
    expectProblem(reply, 401, 'UNAUTHENTICATED');
    expect(reply.headers.get('www-authenticate')).toMatch(/^Bearer realm="holdfast", error="invalid_token"/);
  }
});

describe('with a key set', () => {
  let server: Server;
  let authenticate: Authenticate;
  let JWKS_URL: string;
  const SILENCE = 'silence';
  let served: unknown = { keys: [publicJwk] };
  let asked = 0;
  beforeAll(async () => {
    server = createServer((_request, response) => {
      asked++;
      if (served === undefined) response.destroy();
      else if (served !== SILENCE) response.end(JSON.stringify(served));
    });
    JWKS_URL = await listenAt(server);
    authenticate = authenticator({ JWKS_URL });
  });
  afterAll(() => server.close());
  afterEach(() => {
    vi.useRealTimers();
    served = { keys: [publicJwk] };
  });

  const tokenOf = (sub: string, kid = 'first', signedBy = key.privateKey) =>
    jwt({ alg: 'RS256', kid }, good(sub), rsa(signedBy));
  test(`none of ${FORGERIES} forged tokens is admitted (SEED=${SEED})`, async () => {
    expect(await authenticate(`Bearer ${tokenOf('ann')}`)).toEqual({ user_id: 'ann', isOperator: false });
    for (const { kind, token } of forge(FORGERIES, forgeries(keySet, createRandom(SEED)))) {
      expect(await refusal(authenticate, token), `${kind}: ${token}`).toBe(401);
    }
  });

  test('a new key is found when its first token comes; one that is no key of ours is a 401', async () => {
    const next = rsaKeys();
    served = { keys: [publicJwk, { ...next.publicKey.export({ format: 'jwk' }), kid: 'second', alg: 'RS256' }] };
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
    expect(await authenticate(`Bearer ${tokenOf('bob', 'second', next.privateKey)}`)).toMatchObject({ user_id: 'bob' });
    const before = asked;
    expect(await refusal(authenticate, tokenOf('bob', 'third', next.privateKey))).toBe(401);
    expect(asked, 'not asked again within the cooldown').toBe(before);
  });

  test('a key that was withdrawn admits no token that comes first when the set is five minutes old', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const idle = authenticator({ JWKS_URL });
    expect(await idle(`Bearer ${tokenOf('ann')}`)).toMatchObject({ user_id: 'ann' });
    served = { keys: [{ ...rsaKeys().publicKey.export({ format: 'jwk' }), kid: 'second', alg: 'RS256' }] };
    vi.setSystemTime(Date.now() + 5 * 60_000 + 1_000);
    const late = ['bob', 'carl'].map((sub) => refusal(idle, tokenOf(sub)));
    expect(await Promise.all(late)).toEqual([401, 401]);
  });

  test('nor one that comes soon after the key server was asked in vain', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const idle = authenticator({ JWKS_URL });
    expect(await idle(`Bearer ${tokenOf('ann')}`)).toMatchObject({ user_id: 'ann' });
    served = undefined;
    vi.setSystemTime(Date.now() + 5 * 60_000 + 1_000);
    expect(await idle(`Bearer ${tokenOf('bob')}`)).toMatchObject({ user_id: 'bob' });
    served = { keys: [{ ...rsaKeys().publicKey.export({ format: 'jwk' }), kid: 'second', alg: 'RS256' }] };
    vi.setSystemTime(Date.now() + 11_000);
    expect(await refusal(idle, tokenOf('carl'))).toBe(401);
  });

  test('a key server that says nothing is waited for two seconds, by all new tokens together', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const waiting = authenticator({ JWKS_URL });
    expect(await waiting(`Bearer ${tokenOf('ann')}`)).toMatchObject({ user_id: 'ann' });
    served = SILENCE;
    vi.setSystemTime(Date.now() + 5 * 60_000 + 1_000);
    const before = asked;
    const known = Promise.all(['ann', 'bob', 'carl'].map((sub) => waiting(`Bearer ${tokenOf(sub)}`)));
    expect(await inTime(5_000, known)).toHaveLength(3);
    expect(asked).toBe(before + 1);
  });

  test('while the key server is away its keys go on, and of others nothing is said: 503', async () => {
    served = undefined;
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_000_000 });
    expect(await authenticate(`Bearer ${tokenOf('carl')}`)).toMatchObject({ user_id: 'carl' });
    expect(await refusal(authenticate, tokenOf('carl', 'fourth'))).toBe(503);
    const late = authenticator({ JWKS_URL });
    expect(await refusal(late, tokenOf('carl'))).toBe(503);
    served = { keys: [publicJwk] };
    expect(await late(`Bearer ${tokenOf('carl')}`)).toMatchObject({ user_id: 'carl' });
  });
});

test('a token that was good is no longer when it has expired', async () => {
  const authenticate = authenticator({ JWT_SECRET });
  const authorization = `Bearer ${await tokenFor('ann', { ...good('ann'), exp: Math.floor(Date.now() / 1_000) + 60 })}`;
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] });
  expect(await authenticate(authorization)).toMatchObject({ user_id: 'ann' });
  vi.advanceTimersByTime(59_000);
  expect(await authenticate(authorization)).toMatchObject({ user_id: 'ann' });
  vi.advanceTimersByTime(7_000);
  await expect(authenticate(authorization)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  vi.useRealTimers();
});

test('every operation that is not public asks for a token, before it looks at anything else', async () => {
  const guardedOnes = (await readOperations(api.url)).filter(({ security }) => security);
  expect(guardedOnes.length).toBeGreaterThan(5);
  for (const { method, path, responses } of guardedOnes) {
    const url = `${api.url}${path.replaceAll(/\{\w+\}/g, 'nothing')}`;
    const response = await fetch(url, { method, ...(method === 'POST' && { body: '{"no":"JSON' }) });
    const reply = { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
    expectProblem(reply, 401, 'UNAUTHENTICATED');
    expect(response.headers.get('www-authenticate'), `${method} ${path}`).toBe('Bearer realm="holdfast"');
    expect(Object.keys(responses)).toEqual(expect.arrayContaining(['401', '403', '429']));
  }
});

test.each([
  ['of another scheme', 'Basic YW5uOmFubg=='],
  ['without a token', 'Bearer'],
  ['with a blank token', 'Bearer  '],
  ['with two tokens', 'Bearer a b'],
  ['with a token of 9,000 characters', `Bearer ${'a'.repeat(9_000)}`],
])('credentials %s are a 401', async (_, authorization) => {
  const buyer = buyerAt(api.url);
  expectProblem(
    await buyer.call<ProblemBody>('GET', '/reservations/res_1', undefined, { authorization }),
    401,
    'UNAUTHENTICATED',
  );
});

test('a token in the URL or the body is none', async () => {
  const token = await tokenFor('ann', { iss: ISSUER, aud: AUDIENCE });
  const buyer = buyerAt(api.url);
  expect((await buyer.call('GET', `/reservations/res_1?access_token=${token}`)).status).toBe(401);
  expect((await buyer.call('POST', '/bookings', { access_token: token })).status).toBe(401);
});
