/** Open-loop load: every request has a due time, and is late from then on, whatever the ones before it do. */
import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** One request, as its client saw it. */
export interface Sample {
  /** Since the start of the load. */
  due_ms: number;
  /** From when it was due to the last byte of its answer. */
  latency_ms: number;
  /** What was answered, such as `201` or `409`, or the kind of error. */
  kind: string;
}

export interface Load {
  per_second: number;
  seconds: number;
  /** Sends the n-th request; resolves with the kind of its answer. */
  send: (n: number) => Promise<string>;
}

const TICK_MS = 1;

/** Sends as due and waits for the last answer; the requests under way have no bound but their own deadlines. */
export async function openLoop({ per_second, seconds, send }: Load): Promise<Sample[]> {
  const samples: Sample[] = [];
  const underWay: Promise<void>[] = [];
  const total = Math.round(per_second * seconds);
  const start = performance.now();
  for (let n = 0; n < total;) {
    const now = performance.now() - start;
    for (let due = (n * 1_000) / per_second; n < total && due <= now; n++, due = (n * 1_000) / per_second) {
      const due_ms = due;
      underWay.push(
        send(n)
          .catch((error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : 'ERROR'))
          .then((kind) => void samples.push({ due_ms, latency_ms: performance.now() - start - due_ms, kind })),
      );
    }
    await delay(TICK_MS);
  }
  await Promise.all(underWay);
  return samples;
}

export interface Answer {
  status: number;
  body: unknown;
}

const REQUEST_TIMEOUT_MS = 30_000;
/** Sooner than the server ends an idle connection, which may be just as a request is sent on it. */
const IDLE_TIMEOUT_MS = 60_000;

/** A JSON client that keeps its connections. */
export function createClient(base: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 2_000, timeout: IDLE_TIMEOUT_MS });
  const url = new URL(base);

  function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const payload = body === undefined ? '' : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: url.hostname,
          port: url.port,
          path,
          method,
          agent,
          timeout: REQUEST_TIMEOUT_MS,
          headers: {
            ...(payload ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) } : {}),
            ...headers,
          },
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
          incoming.on('error', reject);
          incoming.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            resolve({ status: incoming.statusCode ?? 0, body: text ? JSON.parse(text) : undefined });
          });
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error('timeout'), { code: 'TIMEOUT' })));
      outgoing.on('error', reject);
      outgoing.end(payload);
    });
  }

  return { call, close: () => agent.destroy() };
}

export type Client = ReturnType<typeof createClient>;

/** As many operations as `clients` can do one after the other: how fast a server can go at most. */
export async function closedLoop(clients: number, seconds: number, operation: () => Promise<unknown>): Promise<number> {
  const end = performance.now() + seconds * 1_000;
  let done = 0;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (; performance.now() < end; done++) await operation();
    }),
  );
  return Math.round(done / seconds);
}
