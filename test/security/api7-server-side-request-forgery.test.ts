/** OWASP API7:2023, Server Side Request Forgery: the API asks the addresses of its operator, and none that a client names. */
import { generateKeyPairSync } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createAuthentication, type Authenticate } from '../../api/auth.ts';
import { ConfigError, readSettings } from '../../runtime/config.ts';
import { jwt, rsa } from '../support/forged-tokens.ts';
import { listenAt } from '../support/listen.ts';
import { log } from '../support/stores.ts';
import { inAnHour } from '../support/tokens.ts';

const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = { ...attacker.publicKey.export({ format: 'jwk' }), kid: 'mine', alg: 'RS256' };

const asked: string[] = [];
let target: Server;
let targetUrl: string;
let redirecting: Server;
let authenticate: Authenticate | undefined;
beforeAll(async () => {
  target = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end(JSON.stringify({ keys: [jwk] }));
  });
  targetUrl = await listenAt(target);
  redirecting = createServer((_request, response) => response.writeHead(302, { location: targetUrl }).end());
  const JWKS_URL = await listenAt(redirecting);
  authenticate = createAuthentication(readSettings({ JWKS_URL }), log);
});
afterAll(() => {
  target.close();
  redirecting.close();
});

const claims = () => ({ sub: 'ann', exp: inAnHour(), iss: targetUrl });

test.each(['jku', 'x5u', 'iss', 'kid'])('the %s of a token is not asked for keys', async (name) => {
  const header = { alg: 'RS256', kid: 'mine', [name]: `${targetUrl}${name}` };
  const token = jwt(header, claims(), rsa(attacker.privateKey));
  await expect(authenticate?.(`Bearer ${token}`)).rejects.toMatchObject({ status: 503 });
  expect(asked).toEqual([]);
});

test('a key server that sends the API elsewhere is not followed: 503', async () => {
  const token = jwt({ alg: 'RS256', kid: 'mine' }, claims(), rsa(attacker.privateKey));
  await expect(authenticate?.(`Bearer ${token}`)).rejects.toMatchObject({ status: 503 });
  expect(asked).toEqual([]);
});

test.each([
  'http://169.254.169.254/latest/meta-data',
  'http://keys.example/jwks',
  'http://127.0.0.1.example/jwks',
  'http://localhost@keys.example/',
  'file:///etc/passwd',
  'ftp://127.0.0.1/',
  'keys',
])('JWKS_URL=%s stops the start', (JWKS_URL) => {
  expect(() => readSettings({ JWKS_URL })).toThrow(ConfigError);
});

test.each(['https://keys.example/jwks', 'http://127.0.0.1:8080/', 'http://localhost/', 'http://[::1]:80/'])(
  'JWKS_URL=%s is taken',
  (JWKS_URL) => {
    expect(readSettings({ JWKS_URL }).JWKS_URL).toBe(JWKS_URL);
  },
);
