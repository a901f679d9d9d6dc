/** Who calls: bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519), with the buyer as `sub`. */
import { createSecretKey } from 'node:crypto';
import type { FastifyRequest, RouteOptions } from 'fastify';
import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { LRUCache } from 'lru-cache';
import { Value } from 'typebox/value';
import { Id } from '../domain/model.ts';
import type { Settings } from '../runtime/config.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Api } from './http.ts';
import { Problem, refusals, unavailable } from './problems.ts';

/** Who may call a route. A route that does not say is for operators. */
type Access = 'public' | 'buyer' | 'operator';

export interface Caller {
  /** The token's `sub`; undefined where nobody is asked who they are. */
  user_id: string | undefined;
  isOperator: boolean;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    caller: Caller;
  }
}

/** Whoever calls, where no key is configured. */
const ANYBODY: Caller = { user_id: undefined, isOperator: true };
/** Whoever calls a public route, where one is: no user id is empty. */
const NOBODY: Caller = { user_id: '', isOperator: false };

/** Whether the caller is this buyer. */
export const isUser = ({ user_id }: Caller, buyer: string) => user_id === undefined || user_id === buyer;

/** Whether the caller may read, and give back, what is this buyer's. */
export const maySee = ({ user_id, isOperator }: Caller, buyer: string) => isOperator || user_id === buyer;

/** What names an idempotency key's scope: the call, and whose it is. */
export const scopeOf = ({ user_id }: Caller, call: string) => (user_id === undefined ? call : `${user_id} ${call}`);

const CLOCK_TOLERANCE_SECONDS = 5;
/**
 * A token that was good is not verified again for this long, nor past its `exp`. So a withdrawn key lives on for at most
 * ten minutes, five of the set and five of a token that is believed, or until its server is back.
 */
const VERIFIED_FOR_MS = 5 * 60_000;
const VERIFIED_CHARACTERS = 16 * 1024 * 1024;
const LONGEST_TOKEN = 8 * 1024;

const KEYS_DEADLINE_MS = 2_000;
/** Keys older than this are asked for again before a token is verified with them. */
const KEYS_FRESH_MS = 5 * 60_000;
/** A key id that is not known asks for new keys, and so does a failure to get them, but not more often than this. */
const KEYS_COOLDOWN_MS = 10_000;

type KeySettings = Pick<Settings, 'JWT_SECRET' | 'JWKS_URL' | 'JWT_ISSUER' | 'JWT_AUDIENCE'>;

/** @throws Problem UNAUTHENTICATED, or UNAVAILABLE where the keys cannot be had */
export type Authenticate = (authorization: string | undefined) => Promise<Caller>;

const REALM = 'Bearer realm="holdfast"';

const unauthenticated = (detail: string, challenge = REALM) =>
  new Problem('UNAUTHENTICATED', detail, {}, { 'www-authenticate': challenge });

const invalidToken = (detail: string) =>
  unauthenticated(detail, `${REALM}, error="invalid_token", error_description="${detail}"`);

/** What a token of each kind of key is checked with: its kind fixes the algorithms, whatever the token says. */
function keysOf({ JWT_SECRET, JWKS_URL }: KeySettings, log: Logger) {
  if (JWT_SECRET !== undefined) {
    const secret = createSecretKey(Buffer.from(JWT_SECRET));
    const getKey: JWTVerifyGetKey = async () => secret;
    return { getKey, algorithms: ['HS256'] };
  }
  if (JWKS_URL !== undefined) {
    return { getKey: keySetAt(new URL(JWKS_URL), log), algorithms: ['RS256', 'ES256', 'EdDSA'] };
  }
  return undefined;
}

/** The key server's keys. While it is away those go on that are known; of any other nothing can be said. */
function keySetAt(url: URL, log: Logger): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(url, {
    timeoutDuration: KEYS_DEADLINE_MS,
    cooldownDuration: KEYS_COOLDOWN_MS,
    cacheMaxAge: Number.POSITIVE_INFINITY,
  });
  let freshUntil = Date.now() + KEYS_FRESH_MS;
  let asked = Promise.resolve();
  return async (header, token) => {
    if (Date.now() > freshUntil && keys.jwks()) {
      freshUntil = Date.now() + KEYS_FRESH_MS;
      asked = keys.reload().catch((error: unknown) => {
        freshUntil = Date.now() + KEYS_COOLDOWN_MS;
        log.warn({ err: error }, 'the key server is away: its old keys go on');
      });
    }
    await asked;
    try {
      return await keys(header, token);
    } catch (error) {
      if (isVerdict(error)) throw error;
      log.warn({ err: error }, 'the key server is away');
      throw unavailable('Tokens cannot be verified right now. Retry with the same Idempotency-Key.');
    }
  };
}

/** The key set has no key for such a token, as far as is known. */
const isVerdict = (error: unknown) =>
  error instanceof errors.JWKSNoMatchingKey ||
  error instanceof errors.JWKSMultipleMatchingKeys ||
  error instanceof errors.JOSENotSupported;

/** How a caller is known by a token; undefined where no key is configured. */
export function createAuthentication(settings: KeySettings, log: Logger): Authenticate | undefined {
  const keys = keysOf(settings, log);
  if (!keys) return undefined;
  const { getKey, algorithms } = keys;
  const { JWT_ISSUER, JWT_AUDIENCE } = settings;
  const checks = {
    algorithms,
    requiredClaims: ['sub', 'exp'],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    ...(JWT_ISSUER === undefined ? {} : { issuer: JWT_ISSUER }),
    ...(JWT_AUDIENCE === undefined ? {} : { audience: JWT_AUDIENCE }),
  };
  const verified = new LRUCache<string, Caller>({
    maxSize: VERIFIED_CHARACTERS,
    perf: { now: () => Date.now() }, // `exp` is a time of day
    sizeCalculation: (_caller, token) => token.length,
  });

  async function verify(token: string): Promise<Caller> {
    try {
      const { payload } = await jwtVerify(token, getKey, checks);
      const caller = toCaller(payload);
      const ttl = Math.min(VERIFIED_FOR_MS, (payload.exp ?? 0) * 1_000 - Date.now());
      if (ttl > 0) verified.set(token, caller, { ttl });
      return caller;
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw invalidToken('The token has expired.');
      if (error instanceof errors.JOSEError) throw invalidToken('The token is not valid.');
      throw error;
    }
  }

  return async (authorization) => {
    const token = /^Bearer +([\w.~+/=-]+)$/i.exec(authorization ?? '')?.[1];
    if (token === undefined) throw unauthenticated('Send a token: Authorization: Bearer <token>.');
    if (token.length > LONGEST_TOKEN) throw invalidToken('The token is too long.');
    return verified.get(token) ?? verify(token);
  };
}

function toCaller({ sub, roles }: JWTPayload): Caller {
  if (!Value.Check(Id, sub)) throw invalidToken('The sub of the token is no user id.');
  return { user_id: sub, isOperator: Array.isArray(roles) && roles.includes('operator') };
}

/** Lets each route be called by whom it says, and says so in its documentation. Comes before the routes. */
export function guardRoutes(app: Api, authenticate: Authenticate | undefined): void {
  app.decorateRequest('caller');
  if (!authenticate) {
    return void app.addHook('onRequest', (request, _reply, done) => {
      request.caller = ANYBODY;
      done();
    });
  }
  app.addHook('onRoute', documentGuard);
  app.addHook('onRequest', async (request) => {
    request.caller = await admit(request, authenticate);
  });
}

async function admit(request: FastifyRequest, authenticate: Authenticate): Promise<Caller> {
  const { access = 'operator' } = request.routeOptions.config;
  if (access === 'public' || request.is404) return NOBODY;
  const caller = await authenticate(request.headers.authorization);
  if (access === 'operator' && !caller.isOperator) {
    const challenge = { 'www-authenticate': `${REALM}, error="insufficient_scope"` };
    throw new Problem('FORBIDDEN', 'The token is not that of an operator.', {}, challenge);
  }
  return caller;
}

function documentGuard(route: RouteOptions): void {
  const { access = 'operator' } = route.config ?? {};
  if (access === 'public') return;
  const response = Object.assign(refusals(401, 403), route.schema?.response);
  route.schema = { ...route.schema, security: [{ bearer: [] }], response };
}
