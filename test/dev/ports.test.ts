import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freePort, listenProblem } from '../../dev/ports.ts';

const server = createServer();
let used: number;
beforeEach(async () => {
  used = await freePort();
  server.listen(used, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

test('the first preferred port that is free is taken', async () => {
  const [first, second] = [await freePort(), await freePort()];
  expect(await freePort([used, first, second])).toBe(first);
});

test('a port that was chosen for something else is not chosen again', async () => {
  const chosen = await freePort();
  expect(await freePort([chosen], [chosen])).not.toBe(chosen);
});

test('any port is one where something can listen, out of the way of outgoing connections', async () => {
  const port = await freePort([used]);
  expect(await listenProblem('127.0.0.1', port)).toBeUndefined();
  expect(port).toBeLessThan(32_768);
});

test('why a port cannot be had is told', async () => {
  expect(await listenProblem('127.0.0.1', used)).toBe('EADDRINUSE');
  expect(await listenProblem('192.0.2.1', used)).toBe('EADDRNOTAVAIL');
});
