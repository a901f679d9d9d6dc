/** The edge cache of deploy/nginx.conf in front of APIs that answer as they are told to; where there is an nginx. */
import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
  type ServerResponse,
} from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { startEdge } from '../../dev/edge.ts';
import { listenAt } from '../support/listen.ts';
import { until } from '../support/until.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown;

/** An API that notes what it is asked. */
async function startUpstream() {
  const asked: IncomingMessage[] = [];
  const answer: Answer = (_request, response) => response.end();
  const upstream = { asked, answer };
  const server = createServer((request, response) => {
    upstream.asked.push(request);
    upstream.answer(request, response);
  });
  return Object.assign(upstream, { server, url: await listenAt(server) });
}

const [selling, reading] = [await startUpstream(), await startUpstream()];
const edge = await startEdge({ api: selling.url, api_reads: reading.url });
afterAll(async () => {
  await edge?.stop();
  for (const { server } of [selling, reading]) server.close().closeAllConnections();
});
beforeEach(() => selling.asked.splice(0) && reading.asked.splice(0));

let events = 0;
/** The seat map of an event that nobody has asked for. */
const newMap = () => `/api/v1/events/edge-${events++}/seats`;

/** On a connection of its own: nginx lets the one that had a map asked for again wait with its next request. */
async function ask(path: string, options: RequestOptions = {}) {
  const request = httpRequest(`${edge?.url}${path}`, { agent: false, ...options }).end();
  const [response]: IncomingMessage[] = await once(request, 'response');
  if (!response) throw new Error('there is an answer');
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

/** A map as the API sends one, which a shared cache may keep for so many seconds, and then while it asks again. */
const map =
  (body: string, { fresh = 1, stale = 4 } = {}): Answer =>
  (request, response) => {
    const etag = `"${body}"`;
    const isKnown = request.headers['if-none-match'] === etag;
    response.writeHead(isKnown ? 304 : 200, {
      etag,
      vary: 'Accept-Encoding',
      'x-request-id': 'of the first who asked',
      'cache-control': `public, max-age=0, s-maxage=${fresh}, stale-while-revalidate=${stale}, stale-if-error=${stale}`,
    });
    response.end(isKnown ? undefined : body);
  };

describe.skipIf(!edge)('the edge', () => {
  test('asks those who sell and those who tell, each for what is theirs', async () => {
    reading.answer = selling.answer = (request, response) => response.end(request.url);
    const reads = [
      '',
      '/an-event',
      '/an-event/seats',
      '/an-event/seats/layouts/one',
      '/an-event/seats/stream',
      '?q=rock',
    ].map((path) => `/api/v1/events${path}`);
    for (const path of reads) await ask(path);
    const sales = ['/api/v1/reservations/res_1', '/api/v1/bookings', '/codec/decode', '/livez', '/openapi.json'];
    for (const path of sales) await ask(path);
    await ask('/metrics');
    expect(reading.asked.map(({ url }) => url)).toEqual(reads);
    expect(selling.asked.map(({ url }) => url)).toEqual(sales);
  });

  test('a map is asked for once, by however many at once, and each has a request id of his own', async () => {
    reading.answer = async (request, response) => {
      await delay(200); // all are here by then
      map('one')(request, response);
    };
    const path = newMap();
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask(path)));
    expect(answers.map(({ status, body }) => `${status} ${body}`)).toEqual(Array(30).fill('200 one'));
    const ids = new Set(answers.map(({ headers }) => headers['x-request-id']));
    expect(ids.size).toBe(30);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(reading.asked.length).toBe(1);
  });

  test('a layout is asked for once, as its URL says for ever what it is', async () => {
    reading.answer = (_request, response) =>
      response.writeHead(200, { 'cache-control': 'public, max-age=31536000, immutable' }).end('layout');
    const path = `${newMap()}/layouts/one`;
    for (let n = 0; n < 3; n++) expect((await ask(path)).body).toBe('layout');
    expect(reading.asked.length).toBe(1);
  });

  test('every encoding is kept apart, however it is spelled', async () => {
    reading.answer = (request, response) =>
      map(String(request.headers['accept-encoding']), { fresh: 60 })(request, response);
    const path = newMap();
    const spelled = {
      br: ['br', 'gzip, deflate, br', 'gzip;q=0.5, br;q=1.0'],
      gzip: ['gzip', 'br;q=0, gzip', 'gzip, br; q=0.0'],
      identity: ['identity', 'deflate', 'broken, gzipped'],
    };
    for (const [encoding, spellings] of Object.entries(spelled)) {
      for (const spelling of spellings) {
        expect((await ask(path, { headers: { 'accept-encoding': spelling } })).body, spelling).toBe(encoding);
      }
    }
    expect(reading.asked.length).toBe(3);
  });

  test('nobody waits while a map that has aged is asked for again, once, and only if it has changed', async () => {
    const path = newMap();
    reading.answer = map('one');
    expect((await ask(path)).body).toBe('one');
    let answerNow = () => {};
    const told = new Promise<void>((resolve) => (answerNow = resolve));
    reading.answer = async (request, response) => {
      await told;
      map('two')(request, response);
    };
    await until('it is asked for again', async () => (await ask(path)) && reading.asked.length === 2);
    for (let n = 0; n < 10; n++) expect((await ask(path)).body).toBe('one');
    expect(reading.asked.length).toBe(2);
    expect(reading.asked[1]?.headers['if-none-match']).toBe('"one"');
    answerNow();
    await until('the new map is there', async () => (await ask(path)).body === 'two');
  });

  test.each([503, 500, 404, 429])('%i is not kept, even if it says that it may be', async (status) => {
    const path = newMap();
    reading.answer = (_request, response) =>
      response.writeHead(status, { 'cache-control': 'public, s-maxage=60', etag: '"error"' }).end('error');
    for (let n = 0; n < 2; n++) expect((await ask(path)).status).toBe(status);
    expect(reading.asked.length).toBe(2);
  });

  test('a map goes on while there is no new one, for as long as the API has said', async () => {
    const path = newMap();
    reading.answer = map('one', { stale: 2 });
    expect((await ask(path)).body).toBe('one');
    reading.answer = (_request, response) => response.writeHead(503).end();
    const stale = await until('it is stale', async () => {
      const answer = await ask(path);
      return answer.headers['x-cache'] !== 'HIT' && answer;
    });
    expect(stale).toMatchObject({ status: 200, body: 'one' });
    await until('it is too old', async () => (await ask(path)).status === 503);
  });

  test('an API that cannot be reached is a 503 that says when to come again', async () => {
    selling.answer = (request) => request.socket.destroy();
    const refused = await ask('/api/v1/reservations', { method: 'POST' });
    expect(refused.status).toBe(503);
    expect(refused.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'retry-after': '1',
      'x-request-id': expect.stringMatching(/./),
    });
    expect(JSON.parse(refused.body)).toMatchObject({ status: 503, code: 'UNAVAILABLE' });
    expect(selling.asked.length).toBe(1);
  });

  test('who asks is who the edge says, whatever he claims to be', async () => {
    selling.answer = (_request, response) => response.end();
    const claims = { 'x-forwarded-for': '10.0.0.1', 'x-forwarded-host': 'elsewhere', 'x-request-id': 'my-request' };
    const { headers } = await ask('/livez', { headers: claims });
    expect(selling.asked[0]?.headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-host': new URL(edge?.url ?? '').host,
      'x-request-id': 'my-request',
    });
    expect(headers['x-request-id']).toBe('my-request');
  });
});
