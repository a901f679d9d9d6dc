import { createHash, randomUUID } from 'node:crypto';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { Hold, SeatLimit } from '../../activities/seat-holds.ts';
import { Id, MAX_SEATS, Reservation } from '../../domain/model.ts';
import { ANSWER_WITHIN_MS, type Reserved } from '../../workflows/messages.ts';
import { isUser, scopeOf, type Caller } from '../auth.ts';
import {
  IdempotencyHeaders,
  endedProblem,
  problemAnswer,
  refusalProblem,
  requireEvent,
  requireReservation,
  sendAnswer,
  type Api,
  type ApiDependencies,
} from '../http.ts';
import type { Answer } from '../idempotency.ts';
import { LOCATION, withHeaders } from '../openapi.ts';
import { Problem, refusals, unavailable } from '../problems.ts';
import { NotRunning, answerWithin } from '../reservation-workflows.ts';

const ReservationBody = Type.Object(
  {
    event_id: Id,
    seat_ids: Type.Array(Id, { minItems: 1, maxItems: MAX_SEATS, uniqueItems: true }),
    user_id: Id,
  },
  { additionalProperties: false },
);
type ReservationBody = Static<typeof ReservationBody>;

interface ReservationRequest {
  body: ReservationBody;
  key: string | undefined;
  /** The key came before, and its outcome is not known. */
  isRepeat: boolean;
  /** How long the client has waited so far. */
  waitedMs: () => number;
  hasLeft: () => boolean;
}

const ReservationParams = Type.Object({ reservation_id: Id });

/** Retries of a key whose earlier reservations ended without an answer; more is a client that never listens. */
const MAX_TRIES = 5;

/** The same for every retry of a request with a key, so that a retry finds the workflow that is there. */
function reservationId(userId: string, key: string | undefined, attempt: number): string {
  if (key === undefined) return `res_${randomUUID().replaceAll('-', '')}`;
  const digest = createHash('sha256').update(JSON.stringify([userId, key, attempt]));
  return `res_${digest.digest('hex').slice(0, 32)}`;
}

const seatsUnavailable = (conflicts: string[]) =>
  new Problem('SEATS_UNAVAILABLE', 'Other buyers have these seats: choose others.', { conflicts });

const seatLimitReached = ({ limit, held }: SeatLimit) =>
  new Problem('SEAT_LIMIT_REACHED', `A user may have ${limit} seats of this event, and has ${held}.`, { limit, held });

const locationOf = (id: string) => `/api/v1/reservations/${id}`;

/** @param leftMs of the hold, as PostgreSQL counts it: our clock may differ from its own */
function heldAnswer(reservation_id: string, body: ReservationBody, hold: Hold, leftMs: number): Answer {
  const reservation: Reservation = {
    reservation_id,
    ...body,
    price: { amount: hold.price, currency: hold.currency },
    status: 'HELD',
    expires_at: hold.expires_at,
    expires_in_seconds: Math.floor(leftMs / 1_000),
    created_at: hold.created_at,
  };
  return { status: 201, headers: { location: locationOf(reservation_id) }, body: reservation };
}

export async function reservationRoutes(api: Api, deps: ApiDependencies): Promise<void> {
  const { config, catalog, queries, seatLocks, workflows, admission, answerOnce } = deps;

  /** The hold of the first try, or of a later one where the ones before it ended before their client was answered. */
  async function reserve(request: ReservationRequest): Promise<{ id: string; reserved: Reserved }> {
    const { body, key, isRepeat, waitedMs, hasLeft } = request;
    const { event_id, seat_ids, user_id } = body;
    const input = { event_id, seat_ids, user_id, hold_seconds: config.HOLD_SECONDS };
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const id = reservationId(user_id, key, attempt);
      const refuseTaken = async () => {
        const taken = await seatLocks.findTaken({ event_id, seat_ids, reservation_id: id });
        if (taken.length === 0) return;
        // Nobody is told no whose earlier try may yet be told yes, be it this one or the next.
        const progress = isRepeat ? await workflows.progressOf(id) : 'NONE';
        if (progress === 'NONE') throw seatsUnavailable(taken);
        if (progress === 'ENDED') throw new NotRunning();
      };
      try {
        await refuseTaken();
        const answerWithinMs = () => Math.ceil(ANSWER_WITHIN_MS - waitedMs());
        const reserving = admission.run(async (waited) => {
          if (waited) await refuseTaken();
          // By now its retry may have been told no, perhaps by another process.
          if (waited && (hasLeft() || answerWithinMs() <= 0)) throw unavailable('The client has left.');
          return workflows.reserve(id, { ...input, answer_within_ms: answerWithinMs() });
        });
        const reserved = await answerWithin(answerWithinMs(), reserving);
        return { id, reserved };
      } catch (error) {
        if (!(error instanceof NotRunning)) throw error;
      }
    }
    throw unavailable('This key was retried too often: use a new one.');
  }

  /** What is left of a hold, in ms; a repeat finds one that was granted some time ago, and may be over. */
  async function leftOf(id: string, { hold_ms }: Hold, { isRepeat }: ReservationRequest): Promise<number> {
    if (!isRepeat) return hold_ms;
    const now = await queries.getReservation(id);
    if (!now || now.status === 'RELEASED' || now.status === 'EXPIRED')
      throw unavailable('The seats were held, and are free again. Retry with the same Idempotency-Key.');
    return now.expires_in_seconds * 1_000;
  }

  async function createReservation(request: ReservationRequest): Promise<Answer> {
    const { body } = request;
    const entry = await requireEvent(catalog, body.event_id);
    const foreign = await catalog.getForeignSeats(entry, body.seat_ids);
    if (foreign.length > 0) {
      throw new Problem('SEATS_NOT_IN_EVENT', `Not seats of ${body.event_id}: ${foreign.join(', ')}`, {
        seat_ids: foreign,
      });
    }
    const { id, reserved } = await reserve(request);
    if (reserved.status === 'HELD')
      return heldAnswer(id, body, reserved.hold, await leftOf(id, reserved.hold, request));
    if (reserved.status === 'REFUSED') {
      if ('seat_limit' in reserved) throw seatLimitReached(reserved.seat_limit);
      // None taken: the hold came after it had been given up, or its conflict has gone meanwhile.
      if (reserved.conflicts.length > 0) throw seatsUnavailable(reserved.conflicts);
    }
    throw unavailable('The seats could not be held right now. Retry with the same Idempotency-Key.');
  }

  /** Releases a hold that its client is not told of: a retry with its key was refused first, while it waited. */
  function takeBackHold({ body }: Answer): void {
    if (!Value.Check(Reservation, body)) return;
    workflows.release(body.reservation_id).catch(() => undefined); // then it runs out by itself
  }

  api.post(
    '/reservations',
    {
      config: { access: 'buyer' },
      links: {
        201: {
          LookAtIt: {
            operationId: 'getReservation',
            parameters: { reservation_id: '$response.body#/reservation_id' },
          },
          PayForIt: {
            operationId: 'createBooking',
            requestBody: { reservation_id: '$response.body#/reservation_id' },
          },
          ReleaseIt: {
            operationId: 'releaseReservation',
            parameters: { reservation_id: '$response.body#/reservation_id' },
          },
        },
      },
      schema: {
        operationId: 'createReservation',
        summary: 'Hold seats: all of them, or none',
        tags: ['reservations'],
        headers: IdempotencyHeaders,
        body: ReservationBody,
        response: { 201: withHeaders(Reservation, LOCATION), ...refusals(400, 404, 409, 413, 415, 422, 503) },
      },
    },
    async ({ body, headers, caller, raw }, reply) => {
      if (!isUser(caller, body.user_id)) throw new Problem('USER_MISMATCH', 'user_id must be the sub of the token.');
      const key = headers['idempotency-key'];
      const answer = await answerOnce(
        { scope: scopeOf(caller, 'POST /reservations'), key, body },
        (isRepeat) =>
          createReservation({
            body,
            key,
            isRepeat,
            waitedMs: () => reply.elapsedTime,
            hasLeft: () => raw.socket.destroyed,
          }),
        (problem) => problemAnswer(problem, '/api/v1/reservations'),
        takeBackHold,
      );
      return sendAnswer(reply, answer);
    },
  );

  api.get(
    '/reservations/:reservation_id',
    {
      config: { access: 'buyer' },
      links: {
        200: { ItsBooking: { operationId: 'getBooking', parameters: { booking_id: '$response.body#/booking_id' } } },
      },
      schema: {
        operationId: 'getReservation',
        summary: 'A reservation, in every state',
        tags: ['reservations'],
        params: ReservationParams,
        response: { 200: Reservation, ...refusals(400, 404, 503) },
      },
    },
    async ({ params, caller }) => requireReservation(queries, params.reservation_id, caller),
  );

  api.delete(
    '/reservations/:reservation_id',
    {
      config: { access: 'buyer' },
      schema: {
        operationId: 'releaseReservation',
        summary: 'Give the seats back early',
        tags: ['reservations'],
        params: ReservationParams,
        response: { 200: Reservation, ...refusals(400, 404, 409, 410, 413, 415, 503) },
      },
    },
    async ({ params: { reservation_id }, caller }) =>
      answerWithin(ANSWER_WITHIN_MS, releaseReservation(reservation_id, caller)),
  );

  async function releaseReservation(reservation_id: string, caller: Caller): Promise<Reservation> {
    let reservation = await requireReservation(queries, reservation_id, caller);
    if (reservation.status === 'HELD') {
      await workflows.release(reservation_id).catch((error: unknown) => {
        if (!(error instanceof NotRunning)) throw refusalProblem(error);
      });
      reservation = await requireReservation(queries, reservation_id, caller);
    }
    if (reservation.status !== 'RELEASED') throw endedProblem(reservation);
    return reservation;
  }
}
