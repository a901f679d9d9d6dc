import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MicroCache } from '../../api/micro-cache.ts';
import { listenAt } from '../support/listen.ts';
import { startApi, startSystem } from '../support/system.ts';

const ETAG = '"tag"';
const BODY = Buffer.from('a map');

/** A server whose router keeps what it answers for `keptForMs`; tells how often the router was asked. */
async function serve(keptForMs: number) {
  const cache = new MicroCache();
  const sent: number[] = [];
  let routed = 0;
  const tell = (status: number) => ({ observe: () => void sent.push(status) });
  const duties = { requestIdOf: () => 'its own', durations: { 200: tell(200), 304: tell(304) } };
  const server = createServer(
    cache.inFrontOf((request, response) => {
      routed++;
      const bodyHeaders = { 'content-length': BODY.length };
      const headers = { etag: ETAG, 'x-request-id': 'of the first' };
      cache.keep(request, { etag: ETAG, headers, bodyHeaders, body: BODY }, Date.now() + keptForMs);
      response.writeHead(200, { etag: ETAG, ...bodyHeaders }).end(BODY);
    }, duties),
  );
  const url = await listenAt(server);
  return {
    read: (headers: Record<string, string> = {}, method = 'GET', path = '/map') =>
      fetch(new URL(path, url), { method, headers }),
    routed: () => routed,
    sent,
    cache,
    close: () => server.close(),
  };
}

describe('a read that was just answered', () => {
  it('is answered again without the router, and told of', async () => {
    const server = await serve(60_000);
    await server.read();
    const again = await server.read();
    expect([again.status, await again.text(), again.headers.get('x-request-id')]).toEqual([200, 'a map', 'its own']);
    const known = await server.read({ 'if-none-match': ETAG });
    expect([known.status, await known.text(), known.headers.get('content-length')]).toEqual([304, '', null]);
    expect((await server.read({ 'if-none-match': '"another"' })).status).toBe(200);
    expect(server.routed()).toBe(1);
    expect(server.sent).toEqual([200, 304, 200]);
    server.close();
  });

  it.each([
    ['with another method', {}, 'HEAD', '/map'],
    ['of another URL', {}, 'GET', '/map?format=compact'],
    ['in another encoding', { 'accept-encoding': 'zstd' }, 'GET', '/map'],
    ['from another origin', { origin: 'https://tickets.example' }, 'GET', '/map'],
    ['by somebody who says who it is', { authorization: 'Bearer token' }, 'GET', '/map'],
    ['with several tags', { 'if-none-match': `"another", ${ETAG}` }, 'GET', '/map'],
    ['with a weak tag', { 'if-none-match': `W/${ETAG}` }, 'GET', '/map'],
    ['with any tag', { 'if-none-match': '*' }, 'GET', '/map'],
  ])('is the router’s %s', async (_what, headers, method, path) => {
    const server = await serve(60_000);
    await server.read();
    await server.read(headers, method, path);
    expect(server.routed()).toBe(2);
    server.close();
  });

  it('is the router’s again once the cache is closed, and not kept any more', async () => {
    const server = await serve(60_000);
    await server.read();
    server.cache.close();
    await server.read();
    await server.read();
    expect(server.routed()).toBe(3);
    server.close();
  });

  it('is not kept longer than its headers are true', async () => {
    const server = await serve(-1);
    await server.read();
    await server.read();
    expect(server.routed()).toBe(2);
    server.close();
  });
});

describe('the seat map', () => {
  let system: Awaited<ReturnType<typeof startSystem>>;
  beforeAll(async () => {
    system = await startSystem();
  });
  afterAll(() => system.stop());

  it.each(['', '?format=compact'])('has the same headers and bytes when it is repeated %s', async (query) => {
    const read = () => fetch(`${system.url}/api/v1/events/demo-theatre/seats${query}`);
    const told = async (response: Response) => ({
      headers: [...response.headers].filter(([name]) => !['date', 'x-request-id', 'cache-control'].includes(name)),
      body: Buffer.from(await response.arrayBuffer()).toString('base64'),
    });
    const first = await told(await read());
    for (let n = 0; n < 5; n++) expect(await told(await read())).toEqual(first);
    const metrics = await (await fetch(`${system.url}/metrics`)).text();
    expect(metrics).toMatch(/duration_seconds_count\{method="GET",route="[^"]*\/seats",status="200"\} (6|12)\n/);
  });

  it('tells its readers to connect elsewhere while the server closes', async () => {
    const closing = await startApi(system.stores, 600);
    const read = () => fetch(`${closing.url}/api/v1/events/demo-theatre/seats`);
    await read();
    const stopped = closing.stop();
    expect((await read()).headers.get('connection')).toBe('close');
    await stopped;
  });
});
