import type { IncomingMessage, OutgoingHttpHeader, RequestListener } from 'node:http';
import { LRUCache } from 'lru-cache';
import { REQUEST_ID_HEADER } from './headers.ts';
import type { Durations } from './metrics.ts';

type Headers = Record<string, OutgoingHttpHeader | undefined>;

/** A public answer as it was sent, which is good for everybody who asks the same in the same encoding. */
export interface PublicAnswer {
  etag: string;
  headers: Headers;
  /** Beside the headers, where the body is sent with them. */
  bodyHeaders: Headers;
  body: Buffer;
}

/** An answer with its headers as Node sends them fastest: names and values in turn. */
interface Kept {
  etag: string;
  /** Without a body, where the client has it. */
  headers: string[];
  headersWithBody: string[];
  body: Buffer;
}

/** Whoever asks next has a request id of his own. */
const inTurn = (headers: Headers) =>
  Object.entries(headers).flatMap(([name, value]) => (name === REQUEST_ID_HEADER ? [] : [name, String(value)]));

/** Of all bodies that are kept, each for at most a second. */
const MAX_BYTES = 64 * 1024 * 1024;
/** What one more answer takes, beside its body. */
const ANSWER_BYTES = 2_000;

const ONE_TAG = /^"[^",]*"$/;

/** Others may be answered otherwise for the same URL, or need a closer look: they go to the router. */
const isPlain = ({ method, headers }: IncomingMessage) =>
  method === 'GET' &&
  headers.host !== undefined &&
  (headers['if-none-match'] === undefined || ONE_TAG.test(headers['if-none-match'])) &&
  headers.origin === undefined &&
  headers.authorization === undefined &&
  headers['content-length'] === undefined &&
  headers['transfer-encoding'] === undefined;

const keyOf = ({ url, headers }: IncomingMessage) => `${url} ${headers['accept-encoding']}`;

/** What the router does for every request, done for those that it does not see. */
export interface RouterDuties {
  requestIdOf(request: IncomingMessage): string;
  /** By status, at hand: to look them up for each answer would be a part of what it takes. */
  durations: Record<200 | 304, Durations>;
}

/**
 * Microcaching (as nginx calls it) in front of the router: what was just answered is answered again with the same
 * bytes, for as long as its headers stay true. Ten thousand readers a second then cost the router a few requests.
 */
export class MicroCache {
  readonly #answers = new LRUCache<string, Kept>({
    maxSize: MAX_BYTES,
    sizeCalculation: ({ body }) => body.length + ANSWER_BYTES,
    ttl: 1,
    ttlAutopurge: true, // a map that nobody reads any more is not to stay in memory
  });
  #isClosed = false;

  /** Keeps the answer to this request until `untilMs`, by the clock of `Date.now()`. */
  keep(request: IncomingMessage, { etag, headers, bodyHeaders, body }: PublicAnswer, untilMs: number): void {
    const ttl = untilMs - Date.now();
    if (ttl <= 0 || this.#isClosed || !isPlain(request)) return;
    const kept = { etag, headers: inTurn(headers), headersWithBody: inTurn({ ...headers, ...bodyHeaders }), body };
    this.#answers.set(keyOf(request), kept, { ttl });
  }

  /** Leaves everything to the router from now on. */
  close(): void {
    this.#isClosed = true;
    this.#answers.clear();
  }

  /** Answers what is kept, and leaves the rest to the router. */
  inFrontOf(router: RequestListener, { requestIdOf, durations }: RouterDuties): RequestListener {
    return (request, response) => {
      const kept = isPlain(request) ? this.#answers.get(keyOf(request)) : undefined;
      if (!kept) return router(request, response);
      const startedAt = performance.now();
      const isKnown = request.headers['if-none-match'] === kept.etag;
      const status = isKnown ? 304 : 200;
      const headers = isKnown ? kept.headers : kept.headersWithBody;
      response.writeHead(status, [...headers, REQUEST_ID_HEADER, requestIdOf(request)]);
      const whenSent = () => durations[status].observe((performance.now() - startedAt) / 1_000);
      if (!isKnown) return response.end(kept.body, whenSent);
      response.end();
      whenSent(); // a head alone goes at once
    };
  }
}
