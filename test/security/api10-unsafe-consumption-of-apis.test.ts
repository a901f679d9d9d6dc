/** OWASP API10:2023, Unsafe Consumption of APIs: what others answer is checked: a key server's keys, a gateway's charges. */
import { generateKeyPairSync } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAuthentication } from '../../api/auth.ts';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import { readSettings } from '../../runtime/config.ts';
import { hmac, jwt, rsa } from '../support/forged-tokens.ts';
import { listenAt } from '../support/listen.ts';
import { log, openStores, type Stores } from '../support/stores.ts';
import { inAnHour } from '../support/tokens.ts';

describe('a key server', () => {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...key.publicKey.export({ format: 'jwk' }), kid: 'first' };
  const shared = Buffer.from('a secret that a key server gives away to all');
  const claims = () => ({ sub: 'ann', exp: inAnHour() });
  const genuine = () => jwt({ alg: 'RS256', kid: 'first' }, claims(), rsa(key.privateKey));

  /** The status of the refusal of a token, where the key server answers like this. */
  async function refusal(answer: (response: ServerResponse) => unknown, token = genuine()) {
    const server = createServer((_request, response) => void answer(response));
    const authenticate = createAuthentication(readSettings({ JWKS_URL: await listenAt(server) }), log);
    const refused = await authenticate?.(`Bearer ${token}`).catch((error: unknown) => error);
    server.closeAllConnections();
    server.close();
    return refused;
  }
  const json = (body: unknown) => (response: ServerResponse) => response.end(JSON.stringify(body));

  test('whose keys are good is believed', async () => {
    expect(await refusal(json({ keys: [jwk] }))).toEqual({ user_id: 'ann', isOperator: false });
  });

  test.each<[string, (response: ServerResponse) => unknown]>([
    ['fails', (response) => response.writeHead(500).end()],
    ['hangs up', (response) => response.destroy()],
    ['answers a page', (response) => response.end('<html></html>')],
    ['answers null', json(null)],
    ['answers no keys', json({ keys: 'none' })],
    ['never answers', () => undefined],
  ])('that %s says nothing of a token: 503, in time', async (_, answer) => {
    const startedAt = Date.now();
    expect(await refusal(answer)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect(Date.now() - startedAt).toBeLessThan(4_000);
  });

  test.each<[string, object[], string]>([
    [
      'gives a shared secret',
      [{ kty: 'oct', kid: 'first', k: shared.toString('base64url'), alg: 'HS256' }],
      jwt({ alg: 'HS256', kid: 'first' }, claims(), hmac(shared)),
    ],
    ['gives a key for encryption', [{ ...jwk, use: 'enc' }], genuine()],
    ['gives a key for another algorithm', [{ ...jwk, alg: 'PS256' }], genuine()],
    ['gives no key', [], genuine()],
  ])('that %s makes no token good: 401', async (_, keys, token) => {
    expect(await refusal(json({ keys }), token)).toMatchObject({ status: 401 });
  });
});

describe('a charge that is told of from outside', () => {
  let stores: Stores;
  beforeAll(async () => {
    stores = await openStores();
  });
  afterAll(() => stores.close());

  test('counts only for its own reservation, at its own price, and while it is good', async () => {
    const gateway = createSandboxGateway(stores.database);
    const price = { amount: 2_500, currency: 'EUR' };
    const request = { idempotency_key: 'a', reservation_id: 'res_mine', payment_token: 'tok_visa', price };
    const charge = await gateway.authorise(request);
    if (charge.status !== 'AUTHORIZED') throw new TypeError('tok_visa is approved');
    const verify = async (id: string, reservation: string, of = price) =>
      (await gateway.verify(id, reservation, of)).status;
    expect(await verify(charge.charge_id, 'res_mine')).toBe('AUTHORIZED');
    expect(await verify(charge.charge_id, 'res_other')).toBe('DECLINED');
    expect(await verify(charge.charge_id, 'res_mine', { ...price, amount: 2_501 })).toBe('DECLINED');
    expect(await verify(charge.charge_id, 'res_mine', { ...price, currency: 'JPY' })).toBe('DECLINED');
    expect(await verify('ch_none', 'res_mine')).toBe('DECLINED');
    await gateway.giveBack(charge.charge_id, 'res_mine');
    expect(await verify(charge.charge_id, 'res_mine')).toBe('DECLINED');
  });
});
