import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { Type, type Static } from 'typebox';
import { Booking, Id, type Reservation } from '../../domain/model.ts';
import { ANSWER_WITHIN_MS, type PaymentOutcome } from '../../workflows/messages.ts';
import { isUser, maySee, scopeOf, type Caller } from '../auth.ts';
import {
  IdempotencyHeaders,
  endedProblem,
  problemAnswer,
  refusalProblem,
  requireReservation,
  sendAnswer,
  type Api,
  type ApiDependencies,
} from '../http.ts';
import type { Answer } from '../idempotency.ts';
import { LOCATION, withHeaders } from '../openapi.ts';
import { Problem, isProblemCode, refusals, unavailable } from '../problems.ts';
import { NotRunning, Refused, answerWithin } from '../reservation-workflows.ts';

const BookingBody = Type.Object(
  { reservation_id: Id, payment_token: Type.String({ minLength: 1, maxLength: 255, pattern: '^[!-~]+$' }) },
  { additionalProperties: false },
);
type BookingBody = Static<typeof BookingBody>;

interface BookingRequest {
  body: BookingBody;
  key: string | undefined;
  /** Seconds. */
  wait: number | undefined;
  caller: Caller;
}

const BookingAnswer = withHeaders(Booking, LOCATION);

const toItself = { LookAtIt: { operationId: 'getBooking', parameters: { booking_id: '$response.body#/booking_id' } } };

const MAX_WAIT_SECONDS = 30;

/** What it may take to find a payment that was accepted before. */
const LOOK_UP_MS = 2_000;

/** What another preference says may read like a wait. */
const QUOTED_TEXT = /"(?!\d+")[^"]*"/g;

/** The seconds that the client wants to wait for the outcome (RFC 7240, 4.3), at most 30; undefined: it does not. */
function waitSeconds(prefer = ''): number | undefined {
  const wait = /(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=[,;]|$)/i.exec(prefer.replace(QUOTED_TEXT, '""'))?.[1];
  return wait === undefined ? undefined : Math.min(Number(wait), MAX_WAIT_SECONDS);
}

/**
 * The same for every repeat of one payment. Without a key, a token counts as a repeat while no payment has failed
 * since, so that a buyer may try the same card again.
 */
function paymentId(key: string | undefined, token: string, failedBefore: number): string {
  const parts = key === undefined ? [token, failedBefore] : [key];
  return `pay-${createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)}`;
}

const countFailed = (bookings: Booking[]) => bookings.filter(({ status }) => status === 'FAILED').length;

const bookingAnswer = (status: number, booking: Booking, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: { location: `/api/v1/bookings/${booking.booking_id}`, ...headers },
  body: booking,
});

function failureProblem({ failure, booking_id }: Extract<PaymentOutcome, { status: 'FAILED' }>): Problem {
  const code = isProblemCode(failure.code) ? failure.code : 'INTERNAL_ERROR';
  return new Problem(code, failure.detail, { booking_id });
}

export async function bookingRoutes(api: Api, { queries, workflows, answerOnce }: ApiDependencies): Promise<void> {
  const stopping = new AbortController();
  const closing = stopping.signal;
  setMaxListeners(0, closing); // one for each buyer who waits
  api.addHook('preClose', async () => stopping.abort()); // a payment may take longer than the stop

  /** A reservation that has ended: its booking, where that is what was asked for. */
  async function answerEnded(reservation: Reservation): Promise<Answer> {
    const [booking] = await queries.getBookings(reservation.reservation_id);
    if (reservation.status !== 'CONFIRMED' || !booking) throw endedProblem(reservation);
    return bookingAnswer(200, booking);
  }

  /** After the hold has expired a new payment is refused; one that was accepted in time may yet be rescued. */
  async function outcomeOf({ reservation_id, status }: Reservation, token: string, id: string, waitMs: number) {
    if (status === 'HELD') return workflows.settled(await workflows.pay(reservation_id, token, id), waitMs, closing);
    return workflows.settled(workflows.paymentOf(reservation_id, id), Math.max(waitMs, LOOK_UP_MS), closing);
  }

  async function createBooking({ body, key, wait, caller }: BookingRequest): Promise<Answer> {
    const { reservation_id, payment_token } = body;
    const reservation = await requireReservation(queries, reservation_id, caller);
    if (!isUser(caller, reservation.user_id))
      throw new Problem('USER_MISMATCH', 'Only its buyer pays for a reservation.');
    if (reservation.status !== 'HELD' && reservation.status !== 'EXPIRED') return answerEnded(reservation);

    const failedBefore = countFailed(await queries.getBookings(reservation_id));
    const id = paymentId(key, payment_token, failedBefore);
    try {
      const outcome = await outcomeOf(reservation, payment_token, id, (wait ?? 0) * 1_000);
      if (outcome?.status === 'FAILED') throw failureProblem(outcome);
      if (outcome?.status === 'TOO_LATE') return answerEnded(await requireReservation(queries, reservation_id, caller));
      const bookings = await queries.getBookings(reservation_id);
      const [booking] = bookings;
      const isOfBefore = booking?.status === 'FAILED' && countFailed(bookings) === failedBefore;
      if (!booking || (isOfBefore && !outcome)) throw unavailable('The payment is not recorded yet. Retry.');
      const applied: Record<string, string> = wait === undefined ? {} : { 'preference-applied': `wait=${wait}` };
      if (outcome) return bookingAnswer(201, booking, applied);
      const { failure: _, ...accepted } = booking;
      return bookingAnswer(202, { ...accepted, status: 'PENDING' }, applied);
    } catch (error) {
      const isEnded = error instanceof NotRunning || (error instanceof Refused && error.code === 'ALREADY_CONFIRMED');
      if (isEnded) return answerEnded(await requireReservation(queries, reservation_id, caller));
      throw refusalProblem(error);
    }
  }

  api.post(
    '/bookings',
    {
      config: { access: 'buyer' },
      links: { 200: toItself, 201: toItself, 202: toItself },
      schema: {
        operationId: 'createBooking',
        summary: 'Pay for a reservation',
        description: 'With `Prefer: wait=N` the answer comes when the payment is settled, or after N seconds.',
        tags: ['bookings'],
        headers: Type.Intersect([IdempotencyHeaders, Type.Object({ prefer: Type.Optional(Type.String()) })]),
        body: BookingBody,
        response: {
          200: BookingAnswer,
          201: BookingAnswer,
          202: BookingAnswer,
          ...refusals(400, 402, 404, 409, 410, 413, 415, 422, 503),
        },
      },
    },
    async ({ body, headers, caller }, reply) => {
      const key = headers['idempotency-key'];
      const wait = waitSeconds(headers.prefer);
      const answer = answerOnce(
        { scope: scopeOf(caller, 'POST /bookings'), key, body },
        () => createBooking({ body, key, wait, caller }),
        (problem) => problemAnswer(problem, '/api/v1/bookings'),
      );
      return sendAnswer(reply, await answerWithin((wait ?? 0) * 1_000 + ANSWER_WITHIN_MS, answer));
    },
  );

  api.get(
    '/bookings/:booking_id',
    {
      config: { access: 'buyer' },
      links: {
        200: {
          ItsReservation: {
            operationId: 'getReservation',
            parameters: { reservation_id: '$response.body#/reservation_id' },
          },
        },
      },
      schema: {
        operationId: 'getBooking',
        summary: 'A booking',
        tags: ['bookings'],
        params: Type.Object({ booking_id: Id }),
        response: { 200: Booking, ...refusals(400, 404, 503) },
      },
    },
    async ({ params: { booking_id }, caller }) => {
      const booking = await queries.getBooking(booking_id);
      if (!booking || !maySee(caller, booking.user_id)) {
        throw new Problem('BOOKING_NOT_FOUND', `There is no booking ${booking_id}.`);
      }
      return booking;
    },
  );
}
