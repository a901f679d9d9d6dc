import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import scalar from '@scalar/fastify-api-reference';
import { Ajv, type AnySchema } from 'ajv';
import addFormats from 'ajv-formats';
import fastify, {
  LogController,
  type FastifyError,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchemaCompiler,
} from 'fastify';
import { Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { instanceOf, problemAnswer, sendAnswer, type Api, type ApiDependencies } from './http.ts';
import { PROBLEM_MEDIA_TYPE, Problem, unavailable, type ProblemCode } from './problems.ts';
import { OutcomeUnknown } from './reservation-workflows.ts';
import { bookingRoutes } from './routes/bookings.ts';
import { eventRoutes } from './routes/events.ts';
import { operationRoutes } from './routes/operations.ts';
import { reservationRoutes } from './routes/reservations.ts';
import { sandboxRoutes } from './routes/sandbox.ts';
import { seatStreamRoutes } from './routes/seat-stream.ts';
import { seatRoutes } from './routes/seats.ts';

const BODY_LIMIT_BYTES = 64 * 1024;
const REQUEST_ID_HEADER = 'x-request-id';
const REQUEST_ID = /^[!-~]{1,128}$/;

/** Builds the API; never listens. */
export async function buildApp(deps: ApiDependencies): Promise<Api> {
  const app: Api = fastify({
    loggerInstance: deps.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: 15_000,
    keepAliveTimeout: 72_000,
    genReqId: ({ headers }) => {
      const given = headers[REQUEST_ID_HEADER];
      return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
    },
    // Of a URL that is no URL: comes before any hook.
    frameworkErrors: (error, request, reply) =>
      void sendProblem(error, request, reply.header(REQUEST_ID_HEADER, request.id)),
    clientErrorHandler: answerMalformed,
    http: { requireHostHeader: false },
    routerOptions: { ignoreTrailingSlash: true },
  });
  app.removeContentTypeParser('text/plain');

  app.setValidatorCompiler(createValidatorCompiler());
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler((request, reply) => {
    const problem = new Problem('NOT_FOUND', `There is no ${request.method} ${instanceOf(request)}.`);
    return sendAnswer(reply, problemAnswer(problem, instanceOf(request)));
  });
  app.addHook('onRequest', (request, reply, done) => {
    reply.header(REQUEST_ID_HEADER, request.id);
    const hasHost = request.headers.host !== undefined;
    done(hasHost ? undefined : new Problem('INVALID_REQUEST', 'The Host header is missing.'));
  });
  const refuseOtherMethods = collectMethods(app);

  const metrics = measureRequests(app);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Holdfast', version: '1', description: 'Hold, pay for and release seats.' },
    },
  });
  await app.register(scalar, { routePrefix: '/docs' });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  await operationRoutes(app, { ...deps, metrics });
  await app.register(
    async (api: Api) => {
      await eventRoutes(api, deps);
      await seatRoutes(api, deps);
      await seatStreamRoutes(api, deps);
      await reservationRoutes(api, deps);
      await bookingRoutes(api, deps);
      if (deps.config.PAYMENT_GATEWAY === 'sandbox') await sandboxRoutes(api, deps);
    },
    { prefix: '/api/v1' },
  );
  refuseOtherMethods();
  return app;
}

/** Remembers which methods each path takes; what it returns lets the paths refuse all others, with `Allow`. */
function collectMethods(app: Api): () => void {
  const methodsOf = new Map<string, string[]>();
  app.addHook('onRoute', ({ url, method }) => {
    methodsOf.set(url, [...(methodsOf.get(url) ?? []), method].flat());
  });
  return () => {
    for (const [url, allowed] of [...methodsOf]) {
      const allow = allowed.sort().join(', ');
      const method = app.supportedMethods.filter((supported) => !allowed.includes(supported));
      const refuse = async () => {
        throw new Problem('METHOD_NOT_ALLOWED', `Allowed here: ${allow}.`, {}, { allow });
      };
      app.route({ method, url, schema: { hide: true }, handler: refuse });
    }
  };
}

/** Bodies are taken as they are; what comes as text in a URL or header may stand for a number. All faults are named. */
function createValidatorCompiler(): FastifySchemaCompiler<AnySchema> {
  const strict = new Ajv({ allErrors: true, useDefaults: true, strict: false });
  const coercing = new Ajv({ allErrors: true, useDefaults: true, strict: false, coerceTypes: true });
  for (const ajv of [strict, coercing]) addFormats.default(ajv).addFormat('date-time', isTime);
  return ({ schema, httpPart }) => (httpPart === 'body' ? strict : coercing).compile(schema);
}

/** RFC 3339 as far as a Date holds it: without leap seconds. */
function isTime(text: string): boolean {
  const time = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i.exec(text)?.[1];
  const date = new Date(`${time}Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().slice(0, 19) === time?.toUpperCase();
}

function measureRequests(app: Api): Registry {
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'From the request to the last byte of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers: [metrics],
  });
  const durationOf = new Map<string, { observe(seconds: number): void }>(); // one for each route and status
  app.addHook('onResponse', ({ method, routeOptions }, { statusCode, elapsedTime }, done) => {
    const route = routeOptions.url ?? 'none';
    const key = `${method} ${route} ${statusCode}`;
    const duration = durationOf.get(key) ?? durations.labels(method, route, String(statusCode));
    durationOf.set(key, duration);
    duration.observe(elapsedTime / 1_000);
    done();
  });
  return metrics;
}

/** Every failure becomes a problem here; what is not foreseen is logged, and nothing of it is told. */
function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = toProblem(error);
  if (problem.status >= 500) request.log.error({ err: error, code: problem.code }, 'a request failed');
  return sendAnswer(reply, problemAnswer(problem, instanceOf(request)));
}

/** Fastify's own refusals, by its error codes. */
const BY_FASTIFY_CODE: Record<string, ProblemCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
};

function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof OutcomeUnknown) {
    return unavailable('What became of the request is not known yet. Retry with the same Idempotency-Key.');
  }
  if (isAway(error)) return unavailable('A service behind the API is away. Retry with the same Idempotency-Key.');
  if (!isFastifyError(error)) return new Problem('INTERNAL_ERROR', 'The failure was logged.');
  if (error.validation) return invalid(error);
  if (error.statusCode === undefined || error.statusCode >= 500) {
    return new Problem('INTERNAL_ERROR', 'The failure was logged.');
  }
  return new Problem(BY_FASTIFY_CODE[error.code] ?? 'INVALID_REQUEST', error.message);
}

const isFastifyError = (error: unknown): error is FastifyError => error instanceof Error && 'statusCode' in error;

function invalid({ validation, validationContext, message }: FastifyError): Problem {
  const errors = (validation ?? []).map(({ instancePath, params, message: detail }) => {
    const name = params['missingProperty'] ?? params['additionalProperty'];
    const path = [...instancePath.split('/').slice(1), ...(typeof name === 'string' ? [name] : [])].join('.');
    return { path: path || (validationContext ?? 'body'), detail: detail ?? 'is not valid' };
  });
  return new Problem('INVALID_REQUEST', message, { errors });
}

/** PostgreSQL that cannot be reached, does not answer in time or is shutting down. */
function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : '';
  return /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|57|08|53)/.test(code) || PG_AWAY.has(error.message);
}

/** The driver gives these no code. */
const PG_AWAY = new Set([
  'timeout exceeded when trying to connect',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Query read timeout',
  'Client has encountered a connection error and is not queryable',
]);

/** A request that is not HTTP: answered on the bare socket, in the same form. */
function answerMalformed(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const code: ProblemCode =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'HEADERS_TOO_LARGE'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'REQUEST_TIMEOUT'
        : 'INVALID_REQUEST';
  const problem = new Problem(code, 'The request could not be read as HTTP.');
  const body = JSON.stringify(problem.toBody('/'));
  socket.end(
    `HTTP/1.1 ${problem.status} ${problem.title}\r\nContent-Type: ${PROBLEM_MEDIA_TYPE}\r\n` +
      `X-Request-Id: ${randomUUID()}\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
