/** Live viewers on bare sockets: how late a change reaches each of them. */
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import type { Sample } from './load.ts';

/** An event's id begins with the millisecond at which the change was announced, right after it was committed. */
const EVENT_ID = /id: (\d+)-\S+\nevent:/g;

/** Opens `count` streams of an event; each event received is a sample. */
export async function watch(url: URL, count: number) {
  const samples: Sample[] = [];
  const start = Date.now();
  const sockets: Socket[] = [];
  for (let n = 0; n < count; n++) {
    const socket = connect({ host: url.hostname, port: Number(url.port) });
    sockets.push(socket);
    await once(socket, 'connect');
    socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`);
    socket.on('data', (chunk: Buffer) => {
      const now = Date.now();
      for (const [, announced] of chunk.toString('latin1').matchAll(EVENT_ID)) {
        samples.push({ due_ms: Number(announced) - start, latency_ms: now - Number(announced), kind: 'change' });
      }
    });
    socket.on('error', () => samples.push({ due_ms: Date.now() - start, latency_ms: 0, kind: 'ERROR' }));
  }
  return {
    samples,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}
