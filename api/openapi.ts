/** What the OpenAPI document says of every route alike, and of how one call leads to the next. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';

const requestId = { description: 'Names the request in our logs', required: true, schema: { type: 'string' } } as const;
const retryAfter = {
  description: 'Seconds after which a retry has a chance',
  required: true,
  schema: { type: 'integer' },
} as const;
const replayed = {
  description: 'The answer is the one that was given to this Idempotency-Key before',
  schema: { type: 'string', pattern: '^true$' },
} as const;

/** Statuses that say when to come back. */
const RETRIED = new Set(['429', '503']);

/**
 * Headers that routes name are always sent; these come with every answer, or with every answer of a kind. What has a
 * default need not be sent, although it is always there once a request was validated.
 */
const transformObject: NonNullable<FastifyDynamicSwaggerOptions['transformObject']> = (document) => {
  if (!('openapiObject' in document)) throw new TypeError('the document is OpenAPI');
  const { openapiObject } = document;
  for (const path of Object.values(openapiObject.paths ?? {})) {
    for (const [method, operation] of Object.entries(path ?? {})) {
      if (typeof operation !== 'object' || !('responses' in operation)) continue;
      for (const parameter of operation.parameters ?? []) {
        if ('schema' in parameter && parameter.schema && 'default' in parameter.schema) parameter.required = false;
      }
      for (const [status, response] of Object.entries(operation.responses ?? {})) {
        if ('$ref' in response) continue;
        for (const header of Object.values(response.headers ?? {})) Object.assign(header, { required: true });
        response.headers = {
          'X-Request-Id': requestId,
          ...(RETRIED.has(status) ? { 'Retry-After': retryAfter } : {}),
          ...(method === 'post' ? { 'Idempotency-Replayed': replayed } : {}),
          ...response.headers,
        };
      }
    }
  }
  return openapiObject;
};

const BEARER = {
  type: 'http',
  scheme: 'bearer',
  bearerFormat: 'JWT',
  description: 'The buyer is the `sub`; operators have `operator` among their `roles`.',
} as const;

/** @param hasCallers whether anybody is asked for a token */
export const openapiOptions = (hasCallers: boolean): FastifyDynamicSwaggerOptions => ({
  openapi: {
    openapi: '3.1.0',
    info: { title: 'Holdfast', version: '1', description: 'Hold, pay for and release seats.' },
    ...(hasCallers && { components: { securitySchemes: { bearer: BEARER } } }),
  },
  transformObject,
});

/** The schema of an answer that always has these headers. */
export const withHeaders = <Schema extends object>(schema: Schema, headers: Record<string, object>): Schema => ({
  ...schema,
  headers,
});

export const LOCATION = {
  Location: { type: 'string', format: 'uri-reference', description: 'Where it is from now on' },
};

export const CACHED = {
  'Cache-Control': { type: 'string', description: 'For how long a shared cache may answer' },
};

/** Of what is sent compressed ahead, and not again to whoever has it. */
export const VALIDATED = { ...CACHED, ETag: { type: 'string' }, Vary: { type: 'string' } };
