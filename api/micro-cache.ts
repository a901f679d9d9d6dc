import type { IncomingMessage, OutgoingHttpHeader, RequestListener } from 'node:http';
import { LRUCache } from 'lru-cache';

type Headers = Record<string, OutgoingHttpHeader | undefined>;

/** A public answer as it was sent, which is good for everybody who asks the same in the same encoding. */
export interface Answer {
  etag: string;
  headers: Headers;
  /** Beside the headers, where the body is sent with them. */
  bodyHeaders: Headers;
  body: Buffer;
}

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
export interface Edges {
  headersOf(request: IncomingMessage): Headers;
  sent(status: number, seconds: number): void;
}

/**
 * Microcaching (as nginx calls it) in front of the router: what was just answered is answered again with the same
 * bytes, for as long as its headers stay true. Ten thousand readers a second then cost the router a few requests.
 */
export class MicroCache {
  readonly #answers = new LRUCache<string, Answer>({
    maxSize: MAX_BYTES,
    sizeCalculation: ({ body }) => body.length + ANSWER_BYTES,
    ttl: 1,
    ttlAutopurge: true, // a map that nobody reads any more is not to stay in memory
  });

  /** Keeps the answer to this request until `untilMs`, by the clock of `Date.now()`. */
  keep(request: IncomingMessage, answer: Answer, untilMs: number): void {
    const ttl = untilMs - Date.now();
    if (ttl > 0 && isPlain(request)) this.#answers.set(keyOf(request), answer, { ttl });
  }

  /** Answers what is kept, and leaves the rest to the router. */
  inFrontOf(router: RequestListener, { headersOf, sent }: Edges): RequestListener {
    return (request, response) => {
      const answer = isPlain(request) ? this.#answers.get(keyOf(request)) : undefined;
      if (!answer) return router(request, response);
      const startedAt = performance.now();
      const isKnown = request.headers['if-none-match'] === answer.etag;
      const status = isKnown ? 304 : 200;
      response.writeHead(status, { ...answer.headers, ...(isKnown ? {} : answer.bodyHeaders), ...headersOf(request) });
      const whenSent = () => sent(status, (performance.now() - startedAt) / 1_000);
      if (isKnown) response.end(whenSent);
      else response.end(answer.body, whenSent);
    };
  }
}
