/** What every route of the API is made of. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Pool } from 'pg';
import type { PayloadCodec } from '@temporalio/common';
import type { Redis } from 'ioredis';
import type { SeatLocks } from '../activities/seat-locks.ts';
import { Id, type Reservation } from '../domain/model.ts';
import type { Settings } from '../runtime/config.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Admission } from './admission.ts';
import { maySee, type Caller } from './auth.ts';
import type { Catalog, CatalogEntry } from './catalog.ts';
import type { Answer, AnswerOnce } from './idempotency.ts';
import { PROBLEM_MEDIA_TYPE, Problem, isProblemCode, type ProblemCode } from './problems.ts';
import type { Queries } from './queries.ts';
import { Refused, type ReservationWorkflows } from './reservation-workflows.ts';
import type { SeatMaps } from './seat-maps.ts';
import type { SeatStream } from './seat-stream.ts';
import type { Webhooks } from './webhooks.ts';

/** What the routes work with. */
export interface ApiDependencies {
  config: Omit<Settings, 'DATA_DIR'>;
  log: Logger;
  database: Pool;
  redis: Redis;
  /** Where maps are shared; another server or the same. */
  cache: Redis;
  seatLocks: Pick<SeatLocks, 'findTaken'>;
  queries: Queries;
  catalog: Catalog;
  seatMaps: SeatMaps;
  seatStream: SeatStream;
  workflows: ReservationWorkflows;
  admission: Admission;
  answerOnce: AnswerOnce;
  webhooks: Webhooks;
  payloadCodec: PayloadCodec | undefined;
}

/** A server whose handlers are typed by their schemas. */
export type Api = FastifyInstance<
  import('node:http').Server,
  import('node:http').IncomingMessage,
  import('node:http').ServerResponse,
  Logger,
  TypeBoxTypeProvider
>;

export const EventParams = Type.Object({ event_id: Id });

/** On every POST. Visible ASCII, at most 255 characters. */
export const IdempotencyHeaders = Type.Object({
  'idempotency-key': Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[!-~]+$' })),
});

/** @throws Problem EVENT_NOT_FOUND */
export async function requireEvent(catalog: Catalog, eventId: string): Promise<CatalogEntry> {
  const entry = await catalog.get(eventId);
  if (!entry) throw new Problem('EVENT_NOT_FOUND', `There is no event ${eventId}.`);
  return entry;
}

/**
 * The show that is meant, by its time; undefined where the event has one.
 * @throws Problem SHOW_TIME_REQUIRED, SHOW_NOT_FOUND
 */
export function requireShow({ event }: CatalogEntry, showTime: string | undefined): string | undefined {
  const { show_times } = event;
  const wanted = showTime === undefined ? undefined : new Date(showTime).toISOString();
  if (wanted === undefined && show_times.length > 1) {
    throw new Problem('SHOW_TIME_REQUIRED', 'Name one of the shows with show_time.', { show_times });
  }
  if (wanted !== undefined && !show_times.includes(wanted)) {
    throw new Problem('SHOW_NOT_FOUND', `There is no show at ${wanted}.`, { show_times });
  }
  return show_times.length > 1 ? wanted : undefined;
}

/** @throws Problem RESERVATION_NOT_FOUND, also where it is another buyer's */
export async function requireReservation(queries: Queries, id: string, caller: Caller): Promise<Reservation> {
  const reservation = await queries.getReservation(id);
  if (!reservation || !maySee(caller, reservation.user_id))
    throw new Problem('RESERVATION_NOT_FOUND', `There is no reservation ${id}.`);
  return reservation;
}

const ENDED: Partial<Record<Reservation['status'], ProblemCode>> = {
  CONFIRMED: 'ALREADY_CONFIRMED',
  RELEASED: 'RESERVATION_RELEASED',
  EXPIRED: 'RESERVATION_EXPIRED',
};

/** Why a reservation that has ended takes no more requests. */
export const endedProblem = ({ status, reservation_id }: Pick<Reservation, 'status' | 'reservation_id'>) =>
  new Problem(ENDED[status] ?? 'UNAVAILABLE', `Reservation ${reservation_id} is ${status}.`);

const REFUSED: Partial<Record<ProblemCode, string>> = {
  TOO_MANY_PAYMENTS: 'No more payments are tried for this reservation: release the seats, and hold them again.',
};

/** What a workflow's refusal means to the client. */
export function refusalProblem(error: unknown): unknown {
  if (!(error instanceof Refused) || !isProblemCode(error.code)) return error;
  const detail = REFUSED[error.code] ?? 'The reservation does not take this request in its present state.';
  return new Problem(error.code, detail);
}

/** A refusal in the form in which it is sent and stored. */
export const problemAnswer = (problem: Problem, instance: string): Answer => ({
  status: problem.status,
  headers: { ...problem.headers, 'content-type': PROBLEM_MEDIA_TYPE },
  body: problem.toBody(instance),
});

/** Sends an answer as it is: what was stored before is sent to the letter. */
export function sendAnswer(reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  return reply
    .code(status)
    .headers({ 'content-type': 'application/json; charset=utf-8', ...headers })
    .serializer(JSON.stringify)
    .send(body);
}

/** The path without its query, which names the resource in a problem. */
export const instanceOf = (request: FastifyRequest) => request.url.split('?', 1)[0] ?? request.url;
