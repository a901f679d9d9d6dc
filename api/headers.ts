/** What browsers are told: with every answer, and which pages may read one. */
import cors from '@fastify/cors';
import type { Api } from './http.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    cors?: { origin: '*' };
  }
}

/** What an answer is called in logs, by its client where that named it. */
export const REQUEST_ID_HEADER = 'x-request-id';

/** Nothing of ours is to be guessed at, framed, run or kept. A route whose answer may be kept says so itself. */
export const EVERY_ANSWER = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

/** The documentation's page runs its own script and styles, and asks this API alone. */
export const DOCS_POLICY = [
  "default-src 'self'",
  "script-src 'self' 'unsafe-inline'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const REQUEST_HEADERS = [
  'authorization',
  'content-type',
  'idempotency-key',
  'last-event-id',
  'prefer',
  'x-namespace',
  REQUEST_ID_HEADER,
];
const RESPONSE_HEADERS = [
  'etag',
  'idempotency-replayed',
  'link',
  'location',
  'preference-applied',
  'ratelimit',
  'ratelimit-policy',
  'retry-after',
  'seat-stream-position',
  'www-authenticate',
  REQUEST_ID_HEADER,
];

/**
 * Lets pages of these origins call. What is public may be read by the pages of all: it is in shared caches, where one
 * stored answer goes to whoever asks. Comes before the routes.
 */
export async function allowOrigins(app: Api, origins: string[]): Promise<void> {
  if (origins.length === 0) return;
  app.addHook('onRoute', (route) => {
    const methods = [route.method].flat();
    const isPublicRead = route.config?.access === 'public' && methods.includes('GET') && !methods.includes('OPTIONS');
    if (isPublicRead) route.config = { ...route.config, cors: { origin: '*' } };
  });
  await app.register(cors, {
    origin: origins,
    methods: ['GET', 'HEAD', 'POST', 'DELETE'],
    allowedHeaders: REQUEST_HEADERS,
    exposedHeaders: RESPONSE_HEADERS,
    maxAge: 600,
    strictPreflight: false,
  });
}
