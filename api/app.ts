import { randomUUID } from 'node:crypto';
import { createServer, maxHeaderSize, type IncomingMessage } from 'node:http';
import swagger from '@fastify/swagger';
import scalar from '@scalar/fastify-api-reference';
import { Ajv, type AnySchema } from 'ajv';
import addFormats from 'ajv-formats';
import fastify, { LogController, type FastifySchemaCompiler } from 'fastify';
import { exposeAudits } from './audit-metrics.ts';
import { createAuthentication, guardRoutes } from './auth.ts';
import { letClientsLeave } from './closing.ts';
import { answerMalformed, sendProblem } from './failures.ts';
import { DOCS_POLICY, EVERY_ANSWER, REQUEST_ID_HEADER, allowOrigins } from './headers.ts';
import { instanceOf, problemAnswer, sendAnswer, type Api, type ApiDependencies } from './http.ts';
import { createRateLimits } from './limits.ts';
import { createMetrics } from './metrics.ts';
import { MicroCache } from './micro-cache.ts';
import { openapiOptions } from './openapi.ts';
import { Problem } from './problems.ts';
import { listOf } from '../runtime/config.ts';
import { bookingRoutes } from './routes/bookings.ts';
import { codecRoutes } from './routes/codec.ts';
import { eventRoutes } from './routes/events.ts';
import { operationRoutes } from './routes/operations.ts';
import { reservationRoutes } from './routes/reservations.ts';
import { sandboxRoutes } from './routes/sandbox.ts';
import { seatStreamRoutes } from './routes/seat-stream.ts';
import { seatRoutes } from './routes/seats.ts';
import { webhookRoutes } from './routes/webhooks.ts';

const BODY_LIMIT_BYTES = 64 * 1024;
const REQUEST_ID = /^[!-~]{1,128}$/;

const SERVER_OPTIONS = {
  keepAliveTimeout: 72_000,
  requireHostHeader: false, // we tell it in our own words
  // Of a client that trickles its request; looked at each second.
  headersTimeout: 8_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 1_000,
};
/** More than there may be viewers of the live maps. */
const MAX_CONNECTIONS = 25_000;

/** Whose requests they are: each has a number beside it, which costs less than a UUID each where most answers are a 304. */
const PROCESS_ID = randomUUID().slice(0, '01234567-9abc'.length);
let requests = 0;

/** The client's own, where it has one that can be told. */
function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers[REQUEST_ID_HEADER];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : `${PROCESS_ID}-${(requests++).toString(36)}`;
}

const headersOf = ({ id }: { id: string }) => ({ ...EVERY_ANSWER, [REQUEST_ID_HEADER]: id });

/** Builds the API; never listens. */
export async function buildApp(deps: ApiDependencies): Promise<Api> {
  const metrics = createMetrics();
  exposeAudits(metrics.registry, deps.database);
  const microCache = new MicroCache();
  const durationsOfMaps = (status: number) => metrics.durationsOf('GET', '/api/v1/events/:event_id/seats', status);
  const duties = { requestIdOf, durations: { 200: durationsOfMaps(200), 304: durationsOfMaps(304) } };
  const app: Api = fastify({
    loggerInstance: deps.log,
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT_BYTES,
    return503OnClosing: false,
    serverFactory: (router) => createServer(SERVER_OPTIONS, microCache.inFrontOf(router, duties)),
    trustProxy: trustedProxies(deps.config.TRUST_PROXY),
    genReqId: requestIdOf,
    // Of a URL that is no URL: comes before any hook.
    frameworkErrors: (error, request, reply) => void sendProblem(error, request, reply.headers(headersOf(request))),
    clientErrorHandler: answerMalformed,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: maxHeaderSize }, // a schema says what is too long
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  // Any but `100-continue` may be ignored (RFC 9110, 10.1.1); Node would answer 417 with nothing in it.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  app.addHook('preClose', async () => microCache.close()); // the router's answers tell clients to connect elsewhere
  letClientsLeave(app);
  app.removeContentTypeParser('text/plain');
  letDeletesBeEmpty(app);

  app.setValidatorCompiler(createValidatorCompiler());
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler((request, reply) => {
    const problem = new Problem('NOT_FOUND', `There is no ${request.method} ${instanceOf(request)}.`);
    return sendAnswer(reply, problemAnswer(problem, instanceOf(request)));
  });
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(headersOf(request));
    done(unreadable(request.raw));
  });
  await allowOrigins(app, listOf(deps.config.CORS_ORIGINS));
  const authenticate = createAuthentication(deps.config, deps.log);
  const limits = await createRateLimits(app, deps.config);
  app.addHook('onRequest', limits.ofAddress);
  guardRoutes(app, authenticate);
  app.addHook('onRequest', limits.ofUser);
  const refuseOtherMethods = collectMethods(app);

  app.addHook('onResponse', ({ method, routeOptions }, { statusCode, elapsedTime }, done) => {
    metrics.durationsOf(method, routeOptions.url ?? 'none', statusCode).observe(elapsedTime / 1_000);
    done();
  });
  await app.register(swagger, openapiOptions(authenticate !== undefined));
  await app.register(docsRoutes);
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () => app.swagger());
  await operationRoutes(app, { ...deps, metrics: metrics.registry });
  if (deps.payloadCodec) await codecRoutes(app, deps.payloadCodec);
  await app.register(
    async (api: Api) => {
      await eventRoutes(api, deps);
      await seatRoutes(api, { ...deps, microCache });
      await seatStreamRoutes(api, deps);
      await reservationRoutes(api, deps);
      await bookingRoutes(api, deps);
      if (deps.config.WEBHOOK_SECRET !== undefined) await webhookRoutes(api, deps);
      if (deps.config.PAYMENT_GATEWAY === 'sandbox') await sandboxRoutes(api, deps);
    },
    { prefix: '/api/v1' },
  );
  refuseOtherMethods();
  return app;
}

/** The problem with a request that would else be taken for another one. */
function unreadable({ headers, url = '' }: IncomingMessage): Problem | undefined {
  if (headers.host === undefined) return new Problem('INVALID_REQUEST', 'The Host header is missing.');
  try {
    decodeURIComponent(url);
    return undefined;
  } catch {
    const detail = 'must be percent-encoded UTF-8';
    return new Problem('INVALID_REQUEST', `querystring ${detail}`, { errors: [{ path: 'querystring', detail }] });
  }
}

/** Who may say, in X-Forwarded-For, whose request it passes on: the last so many hops, or these addresses. */
function trustedProxies(setting: string | undefined) {
  if (setting === undefined) return false;
  return /^\d+$/.test(setting) ? (_address: string, hop: number) => hop < Number(setting) : listOf(setting);
}

/** Many clients name a content type with every request; a DELETE with none of that content is no fault. */
function letDeletesBeEmpty(app: Api): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (request.method === 'DELETE' && body === '') done(null);
    else void parse(request, body, done);
  });
}

/** A page for people, so with a policy and a life of its own. */
async function docsRoutes(docs: Api): Promise<void> {
  docs.addHook('onRoute', (route) => {
    route.config = { ...route.config, access: 'public' };
  });
  docs.addHook('onRequest', async (_request, reply) => {
    reply.headers({ 'content-security-policy': DOCS_POLICY, 'cache-control': 'no-cache' });
  });
  // The page would send its reader from /docs to /docs/.
  docs.addHook('onRequest', async ({ raw }) => {
    raw.url = raw.url?.replace(/^\/docs(?=\?|$)/, '/docs/');
  });
  // Its fonts would come from another site.
  await docs.register(scalar, {
    routePrefix: '/docs',
    configuration: { withDefaultFonts: false, cdn: '/docs/js/scalar.js' },
  });
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
      // Before anything of the request is looked at.
      app.route({
        method,
        url,
        config: { access: 'public' },
        schema: { hide: true },
        onRequest: refuse,
        handler: refuse,
      });
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
