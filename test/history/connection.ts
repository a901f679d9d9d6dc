import { connect, type Socket } from 'node:net';

export interface Request {
  method: string;
  path: string;
  body?: Record<string, unknown>;
  headers?: Record<string, string>;
}

export interface Reply {
  status: number;
  text: string;
}

/**
 * A client's connection, kept from call to call. HTTP only as far as it is spoken here, since `node:http` takes longer
 * to ask than the API to answer: one call at a time, and answers that state their length.
 */
export class Connection {
  readonly #url: URL;
  #socket: Socket | undefined;

  /** @param url of the API, without the base path */
  constructor(url: string) {
    this.#url = new URL(url);
  }

  close(): void {
    this.#socket?.destroy();
  }

  /** @throws Error when there is no whole answer in time, or none to come; the connection is closed by then */
  send(asked: Request, withinMs: number): Promise<Reply> {
    const socket = (this.#socket ??= this.#open());
    return new Promise((resolve, reject) => {
      let received = Buffer.alloc(0);
      const onData = (data: Buffer) => {
        received = Buffer.concat([received, data]);
        const reply = parse(received);
        if (!reply) return;
        leave();
        resolve(reply);
      };
      const onClose = () => {
        leave();
        reject(new Error('no answer'));
      };
      const deadline = setTimeout(() => socket.destroy(), withinMs);
      const leave = () => {
        clearTimeout(deadline);
        socket.off('data', onData).off('close', onClose);
      };
      socket.on('data', onData).on('close', onClose);
      socket.write(this.#format(asked));
    });
  }

  #open(): Socket {
    const { hostname, port } = this.#url;
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    socket.on('error', () => undefined); // 'close' follows
    return socket.on('close', () => (this.#socket = undefined));
  }

  #format({ method, path, body, headers = {} }: Request): string {
    const payload = body && JSON.stringify(body);
    const sent = {
      host: this.#url.host,
      ...headers,
      ...(payload && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
    };
    const lines = Object.entries(sent).map(([name, value]) => `${name}: ${value}\r\n`);
    return `${method} /api/v1${path} HTTP/1.1\r\n${lines.join('')}\r\n${payload ?? ''}`;
  }
}

/** The answer, once there is all of it. */
function parse(received: Buffer): Reply | undefined {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = received.toString('latin1', 0, headEnd);
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1]);
  const bodyAt = headEnd + 4;
  if (received.length < bodyAt + length) return undefined;
  return { status: Number(head.split(' ', 2)[1]), text: received.toString('utf8', bodyAt) };
}
