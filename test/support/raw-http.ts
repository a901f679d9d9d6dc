/** HTTP as bytes, for what no well-behaved client would send. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Reply, ProblemBody } from './buyer.ts';

/** Sends the bytes as they are, and reads until the server closes, so ask it to: `Connection: close`. */
export async function exchange(url: string, bytes: string | Buffer): Promise<Reply<ProblemBody>> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const received: Buffer[] = [];
  socket.on('data', (data: Buffer) => received.push(data));
  socket.write(bytes);
  await once(socket, 'close');
  return parse(Buffer.concat(received).toString());
}

export function parse(text: string): Reply<ProblemBody> {
  const [head = '', body = ''] = text.split('\r\n\r\n', 2);
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = new Headers(
    lines.map((line): [string, string] => [line.split(':', 1)[0] ?? '', line.replace(/^[^:]*:\s*/, '')]),
  );
  return { status: Number(statusLine.split(' ')[1]), headers, body: JSON.parse(body) };
}
