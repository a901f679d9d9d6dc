/** A reader of one URL on bare sockets: so cheap that it can ask a server for more than the server can do. */
import { connect, type Socket } from 'node:net';

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const READ_TIMEOUT_MS = 30_000;

/** What is read; in br, as browsers do. */
export interface Reading {
  url: URL;
  /** Whether a reader who has the answer says so. */
  conditional: boolean;
}

/** One keep-alive connection with one request under way at a time. */
class Reader {
  readonly #reading: Reading;
  #socket: Socket;
  #request: string;
  #left = 0;
  #inBody = false;
  #isLast = false;
  #done: (status: string) => void = () => undefined;
  #failed: (error: Error) => void = () => undefined;
  #status = '';

  constructor(reading: Reading) {
    this.#reading = reading;
    this.#request = this.#ask();
    this.#socket = this.#connect();
  }

  #connect(): Socket {
    const { hostname: host, port } = this.#reading.url;
    const socket = connect({ host, port: Number(port), noDelay: true });
    socket.setTimeout(READ_TIMEOUT_MS, () => socket.destroy());
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#failed(error));
    socket.on('close', () => socket === this.#socket && this.#failed(new Error('closed')));
    return socket;
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

  #ask(etag?: string): string {
    const { host, pathname, search } = this.#reading.url;
    const condition = etag === undefined ? '' : `if-none-match: ${etag}\r\n`;
    return `GET ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\naccept-encoding: br\r\n${condition}\r\n`;
  }

  /** The heads of these answers are small and come in one piece. */
  #take(chunk: Buffer): void {
    let body = chunk.length;
    if (!this.#inBody) {
      const head = chunk.indexOf(END_OF_HEAD);
      this.#takeHead(chunk.toString('latin1', 0, head + END_OF_HEAD.length));
      this.#inBody = true;
      body -= head + END_OF_HEAD.length;
    }
    this.#left -= body;
    if (this.#left > 0) return;
    this.#inBody = false;
    if (this.#isLast) {
      this.#socket.destroy();
      this.#socket = this.#connect();
    }
    this.#done(this.#status);
  }

  #takeHead(head: string): void {
    this.#status = head.slice(9, 12);
    this.#isLast = /connection: close/i.test(head); // as nginx says after a thousand
    this.#left = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#reading.conditional && this.#status === '200') this.#request = this.#ask(/etag: (.+)\r/i.exec(head)?.[1]);
  }
}

/** More connections would only wait at the server. */
const MOST_READERS = 256;

/** Readers that are lent out one at a time; who finds none waits, and is late. */
export class ReaderPool {
  readonly #free: Reader[] = [];
  readonly #all: Reader[] = [];
  /** By when they came: an array moves all of them each time that its first is taken, once there are many. */
  readonly #waiting = new Map<number, (reader: Reader) => void>();
  #came = 0;
  #served = 0;

  constructor(readonly reading: Reading) {}

  async read(): Promise<string> {
    const reader = await this.#take();
    const status = await reader.read();
    this.#give(reader);
    return status;
  }

  #take(): Reader | Promise<Reader> {
    const free = this.#free.pop();
    if (free) return free;
    if (this.#all.length < MOST_READERS) return this.#open();
    return new Promise((resolve) => this.#waiting.set(this.#came++, resolve));
  }

  #give(reader: Reader): void {
    const next = this.#waiting.get(this.#served);
    if (!next) return void this.#free.push(reader);
    this.#waiting.delete(this.#served++);
    next(reader);
  }

  close(): void {
    for (const reader of this.#all) reader.close();
  }

  #open(): Reader {
    const reader = new Reader(this.reading);
    this.#all.push(reader);
    return reader;
  }
}
