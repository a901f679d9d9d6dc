/** The codec server as the Temporal UI calls it: from its own page, with protobuf as JSON. */
import { randomBytes } from 'node:crypto';
import { defaultPayloadConverter } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { guarded } from '../support/guarded-api.ts';
import { startSystem } from '../support/system.ts';
import { operatorToken, tokenFor } from '../support/tokens.ts';

const UI = 'http://127.0.0.1:8233';
const payload = { metadata: { encoding: btoa('json/plain') }, data: btoa('{"user_id":"ann"}') };

let system: Awaited<ReturnType<typeof startSystem>>;
beforeAll(async () => {
  const ENCRYPTION_KEY = randomBytes(32).toString('base64');
  system = await startSystem({ settings: guarded({ ENCRYPTION_KEY, CORS_ORIGINS: UI }) });
});
afterAll(() => system.stop());

async function call(path: string, body: unknown, token?: string) {
  const response = await fetch(`${system.url}/codec/${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-namespace': 'default',
      origin: UI,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  const reply: { payloads: object[]; code?: string } = JSON.parse(await response.text());
  return { status: response.status, headers: response.headers, body: reply };
}

test('decodes for an operator what it encoded, and plain payloads pass', async () => {
  const token = await operatorToken();
  const encoded = await call('encode', { payloads: [payload] }, token);
  expect(JSON.stringify(encoded.body)).not.toContain(payload.data);
  const decoded = await call('decode', { payloads: [...encoded.body.payloads, payload] }, token);
  expect(decoded).toMatchObject({ status: 200, body: { payloads: [payload, payload] } });
  expect(decoded.headers.get('access-control-allow-origin')).toBe(UI);
});

test("decodes a reservation's input as it stands in the history", async () => {
  const { client } = system;
  const workflowId = 'res_codec';
  const args = [{ user_id: 'ann.secret' }];
  const workflow = await client.workflow.start('nothing', { workflowId, taskQueue: 'nobody', args });
  const { events } = await workflow.fetchHistory();
  const [input] = events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
  const asJson = (bytes?: Uint8Array | null) => Buffer.from(bytes ?? []).toString('base64');
  const metadata = Object.fromEntries(Object.entries(input?.metadata ?? {}).map(([name, it]) => [name, asJson(it)]));
  const { body } = await call('decode', { payloads: [{ metadata, data: asJson(input?.data) }] }, await operatorToken());
  const { data } = defaultPayloadConverter.toPayload(args[0]);
  expect(body.payloads).toMatchObject([{ data: asJson(data) }]);
  await workflow.terminate();
});

test('is for operators alone', async () => {
  expect((await call('decode', { payloads: [payload] })).status).toBe(401);
  expect((await call('decode', { payloads: [payload] }, await tokenFor('ann'))).status).toBe(403);
});

test('refuses what cannot be decrypted, what is no payload and what is too large', async () => {
  const token = await operatorToken();
  const altered = { metadata: { encoding: btoa('binary/encrypted'), 'encryption-key-id': btoa('?') }, data: btoa('?') };
  const unreadable = await call('decode', { payloads: [altered] }, token);
  expect(unreadable).toMatchObject({ status: 422, body: { code: 'UNREADABLE_PAYLOAD' } });
  expect((await call('decode', { payloads: [{ data: 'not base64!' }] }, token)).status).toBe(400);
  expect((await call('decode', {}, token)).status).toBe(400);
  const large = { payloads: [{ ...payload, data: 'A'.repeat(1024 * 1024) }] };
  expect((await call('decode', large, token)).status).toBe(413);
});

test("may be called from the Temporal UI's page", async () => {
  const preflight = await fetch(`${system.url}/codec/decode`, {
    method: 'OPTIONS',
    headers: {
      origin: UI,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type,x-namespace',
    },
  });
  expect(preflight.status).toBe(204);
  expect(preflight.headers.get('access-control-allow-origin')).toBe(UI);
  expect(preflight.headers.get('access-control-allow-headers')).toMatch(/x-namespace/);
});
