import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openProxy, type Proxy } from './proxy.ts';

let echo: Server;
let proxy: Proxy;
beforeEach(async () => {
  echo = await echoServer('');
  proxy = await openProxy(portOf(echo));
});
afterEach(async () => {
  await proxy.close();
  echo.close();
});

async function echoServer(mark: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (data) => socket.write(`${mark}${data.toString()}`));
    socket.on('end', () => socket.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port');
  return address.port;
}

async function openClient() {
  const socket = connect(proxy.port, '127.0.0.1').setEncoding('utf8');
  await once(socket, 'connect');
  return socket;
}

async function say(socket: Awaited<ReturnType<typeof openClient>>, word: string) {
  const startedAt = performance.now();
  socket.write(word);
  const [answer] = await once(socket, 'data');
  return { answer, ms: performance.now() - startedAt };
}

test('what is sent arrives, both ways, and so does the end', async () => {
  const client = await openClient();
  expect((await say(client, 'hello')).answer).toBe('hello');
  client.end();
  await once(client, 'end');
});

test('latency counts each way and keeps the order', async () => {
  const client = await openClient();
  const slow = proxy.delay(60, 30);
  const first = say(client, 'one');
  await slow;
  client.write('two');
  const { answer, ms } = await first;
  expect(ms).toBeGreaterThan(60);
  expect(answer).toMatch(/^one/);
  client.destroy();
});

test('a black hole says nothing until it is over; then all arrives', async () => {
  const client = await openClient();
  const hole = proxy.swallow(200);
  const { answer, ms } = await say(client, 'late');
  expect(answer).toBe('late');
  expect(ms).toBeGreaterThan(150);
  await hole;
  client.destroy();
});

test('a reset breaks what is there and what is tried, until it is over', async () => {
  const before = await openClient();
  const broken = once(before, 'error');
  const refusing = proxy.refuse(100);
  expect((await broken)[0]).toMatchObject({ code: 'ECONNRESET' });
  const meanwhile = connect(proxy.port, '127.0.0.1');
  expect((await once(meanwhile, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' });
  await refusing;
  const after = await openClient();
  expect((await say(after, 'again')).answer).toBe('again');
  after.destroy();
});

test('a dead service breaks the connection; a new target serves those who come after', async () => {
  echo.close();
  const [error] = await once(connect(proxy.port, '127.0.0.1'), 'error');
  expect(error).toMatchObject({ code: 'ECONNRESET' });

  const other = await echoServer('other: ');
  proxy.target = portOf(other);
  const client = await openClient();
  expect((await say(client, 'who')).answer).toBe('other: who');
  client.destroy();
  other.close();
});
