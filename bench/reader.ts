/** A reader of one URL on bare sockets: so cheap that it can ask a server for more than the server can do. */
import { connect, type Socket } from 'node:net';

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const READ_TIMEOUT_MS = 30_000;

/** One keep-alive connection with one request under way at a time. */
export class Reader {
  readonly #socket: Socket;
  readonly #request: Buffer;
  #left = 0;
  #inBody = false;
  #done: (status: string) => void = () => undefined;
  #failed: (error: Error) => void = () => undefined;
  #status = '';
  bytes = 0;

  constructor(url: URL, headers: Record<string, string>) {
    const lines = Object.entries({ host: url.host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#request = Buffer.from(`GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('')}\r\n`);
    this.#socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
    this.#socket.setTimeout(READ_TIMEOUT_MS, () => this.#socket.destroy(new Error('timeout')));
    this.#socket.on('data', (chunk) => this.#take(chunk));
    this.#socket.on('error', (error) => this.#failed(error));
  }

  /** Resolves with the status once the whole body is there. */
  read(): Promise<string> {
    return new Promise((resolve, reject) => {
      [this.#done, this.#failed] = [resolve, reject];
      this.#socket.write(this.#request);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  /** The heads of these answers are small and come in one piece. */
  #take(chunk: Buffer): void {
    this.bytes += chunk.length;
    let body = chunk.length;
    if (!this.#inBody) {
      const head = chunk.indexOf(END_OF_HEAD);
      const text = chunk.toString('latin1', 0, head);
      this.#status = text.slice(9, 12);
      this.#left = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      this.#inBody = true;
      body -= head + END_OF_HEAD.length;
    }
    this.#left -= body;
    if (this.#left > 0) return;
    this.#inBody = false;
    this.#done(this.#status);
  }
}

/** More connections would only wait at the server. */
const MOST_READERS = 256;

/** Readers that are lent out one at a time; who finds none waits, and is late. */
export class ReaderPool {
  readonly #free: Reader[] = [];
  readonly #all: Reader[] = [];
  readonly #waiting: ((reader: Reader) => void)[] = [];

  constructor(
    readonly url: URL,
    readonly headers: Record<string, string>,
  ) {}

  async read(): Promise<string> {
    const reader = await this.#take();
    const status = await reader.read();
    const next = this.#waiting.shift();
    if (next) next(reader);
    else this.#free.push(reader);
    return status;
  }

  #take(): Reader | Promise<Reader> {
    const free = this.#free.pop();
    if (free) return free;
    if (this.#all.length < MOST_READERS) return this.#open();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  get bytes(): number {
    return this.#all.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  close(): void {
    for (const reader of this.#all) reader.close();
  }

  #open(): Reader {
    const reader = new Reader(this.url, this.headers);
    this.#all.push(reader);
    return reader;
  }
}
