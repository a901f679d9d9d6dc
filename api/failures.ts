/** What becomes of a failure: a problem (RFC 9457), whatever it was. */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { EVERY_ANSWER } from './headers.ts';
import { instanceOf, problemAnswer, sendAnswer } from './http.ts';
import { PROBLEM_MEDIA_TYPE, Problem, unavailable, type ProblemCode } from './problems.ts';
import { OutcomeUnknown } from './reservation-workflows.ts';

/** Every failure becomes a problem here; what is not foreseen is logged, and nothing of it is told. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = toProblem(error);
  // An overload is told by the metrics: a line for each of those who come again would add to it.
  if (problem.status >= 500 && problem.code !== 'OVERLOADED') {
    request.log.error({ err: error, code: problem.code, reqId: request.id }, 'a request failed');
  }
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
  if (isAway(error))
    return unavailable('A service behind the API does not answer. Retry with the same Idempotency-Key.');
  if (!isFastifyError(error) || (error.statusCode ?? 500) >= 500) {
    return new Problem('INTERNAL_ERROR', 'The failure was logged.');
  }
  if (error.validation) return invalid(error);
  const code = BY_FASTIFY_CODE[error.code];
  if (code) return new Problem(code, error.message);
  const path = error.code === 'FST_ERR_BAD_URL' ? 'url' : 'body';
  return new Problem('INVALID_REQUEST', error.message, { errors: [{ path, detail: error.message }] });
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

const HEADERS = Object.entries(EVERY_ANSWER)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join('');

/** A request that is not HTTP: answered on the bare socket, in the same form. */
export function answerMalformed(error: Error & { code?: string }, socket: Socket): void {
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
      `X-Request-Id: ${randomUUID()}\r\n${HEADERS}Connection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
