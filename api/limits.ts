/** How often one may call, by the IETF draft "RateLimit header fields for HTTP". Each process counts for itself. */
import rateLimit from '@fastify/rate-limit';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { isLoopback, type Settings } from '../runtime/config.ts';
import type { Api } from './http.ts';
import { Problem, refusals } from './problems.ts';

const WINDOW_SECONDS = 10;
/** Users and addresses remembered at once, each; beyond that those not seen for longest start afresh. */
const REMEMBERED = 50_000;

const isWrite = ({ method }: FastifyRequest) => method === 'POST' || method === 'DELETE';

/** The machine itself. An address that a proxy told of is none: whoever reaches us past the proxy may claim any. */
const isThisMachine = ({ ip, socket }: FastifyRequest) => ip === socket.remoteAddress && isLoopback(ip);

/** The hooks that count a request and refuse one too many. Comes before the routes. */
export async function createRateLimits(
  app: Api,
  { RATE_LIMIT_USER, RATE_LIMIT_ADDRESS }: Pick<Settings, 'RATE_LIMIT_USER' | 'RATE_LIMIT_ADDRESS'>,
) {
  app.addHook('onRoute', documentLimit);
  await app.register(rateLimit, { global: false, timeWindow: WINDOW_SECONDS * 1_000, cache: REMEMBERED });

  function createLimit(name: string, most: number, keyOf?: (request: FastifyRequest) => string) {
    const count = app.createRateLimit({ max: most, ...(keyOf && { keyGenerator: keyOf }) });
    return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const counted = await count(request);
      if (counted.isAllowed) return;
      const { remaining, ttlInSeconds, isExceeded } = counted;
      tell(reply, 'ratelimit-policy', `"${name}";q=${most};w=${WINDOW_SECONDS}`);
      tell(reply, 'ratelimit', `"${name}";r=${remaining};t=${ttlInSeconds}`);
      if (!isExceeded) return;
      const detail = `At most ${most} of these requests in ${WINDOW_SECONDS} s from one ${name}.`;
      throw new Problem('RATE_LIMITED', detail, {}, { 'retry-after': String(ttlInSeconds) });
    };
  }

  /** A hook that makes those wait whose request is counted, and no others. */
  const counted =
    (isCounted: (request: FastifyRequest) => boolean, count: ReturnType<typeof createLimit>) =>
    (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void => {
      if (isCounted(request)) count(request, reply).then(() => done(), done);
      else done();
    };

  const address = createLimit('address', RATE_LIMIT_ADDRESS);
  const user = createLimit('user', RATE_LIMIT_USER, ({ caller }) => caller.user_id ?? '');
  return {
    ofAddress: counted(
      (request) => (isWrite(request) || request.routeOptions.config.access !== 'public') && !isThisMachine(request),
      address,
    ),
    /** For callers who are known: what anybody may claim is nothing to count by. */
    ofUser: counted((request) => isWrite(request) && Boolean(request.caller.user_id), user),
  };
}

/** One more member of a list. */
function tell(reply: FastifyReply, header: string, member: string): void {
  const before = reply.getHeader(header);
  reply.header(header, before === undefined ? member : `${String(before)}, ${member}`);
}

function documentLimit(route: RouteOptions): void {
  const isWritten = [route.method].flat().some((method) => method === 'POST' || method === 'DELETE');
  if (route.config?.access === 'public' && !isWritten) return;
  route.schema = { ...route.schema, response: Object.assign(refusals(429), route.schema?.response) };
}
