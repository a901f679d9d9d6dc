/** A buyer's HTTP client: says what was answered, whatever it was. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Booking, Charge, Reservation } from '../../domain/model.ts';

export interface Reply<Body = unknown> {
  status: number;
  headers: Headers;
  body: Body;
}

export interface ProblemBody {
  code: string;
  title: string;
  status: string | number;
  detail: string;
  type: string;
  instance: string;
  conflicts?: string[];
  show_times?: string[];
  errors?: { path: string; detail: string }[];
}

/** Asks again, when it is told to, what may be asked twice: a 503 says that the outcome is not known, or to come later. */
export async function insist<Body>(ask: () => Promise<Reply<Body>>): Promise<Reply<Body>> {
  for (;;) {
    const reply = await ask();
    if (reply.status !== 503) return reply;
    await delay(Number(reply.headers.get('retry-after')) * 1_000);
  }
}

export type Buyer = ReturnType<typeof buyerAt>;

/** How the API writes a time. */
export const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/**
 * @param base the API's URL, without the base path
 * @param token who the buyer is; none where the API asks nobody
 */
export function buyerAt(base: string, token?: string) {
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };

  /** The body is taken to be what the caller names: tests assert on it. */
  async function call<Body>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${base}/api/v1${path}`, {
      method,
      headers: { ...authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(40_000),
    });
    const text = await response.text();
    const reply: Reply<Body> = {
      status: response.status,
      headers: response.headers,
      body: text ? JSON.parse(text) : undefined,
    };
    return reply;
  }

  const holdOnce = (event_id: string, seat_ids: string[], user_id = 'ann', headers: Record<string, string> = {}) =>
    call<Reservation & ProblemBody>('POST', '/reservations', { event_id, seat_ids, user_id }, headers);

  return {
    call,
    holdOnce,
    /** As a good client makes it: insists, with one key for all tries. */
    hold: (event_id: string, seat_ids: string[], user_id?: string) => {
      const key = { 'idempotency-key': randomUUID() };
      return insist(() => holdOnce(event_id, seat_ids, user_id, key));
    },
    pay: (reservation_id: string, payment_token: string, headers: Record<string, string> = {}) =>
      call<Booking & ProblemBody>('POST', '/bookings', { reservation_id, payment_token }, headers),
    payAndWait: (reservation_id: string, payment_token: string, seconds = 20) =>
      call<Booking & ProblemBody>(
        'POST',
        '/bookings',
        { reservation_id, payment_token },
        { prefer: `wait=${seconds}` },
      ),
    release: (reservation_id: string) => call<Reservation & ProblemBody>('DELETE', `/reservations/${reservation_id}`),
    reservation: (reservation_id: string) => call<Reservation & ProblemBody>('GET', `/reservations/${reservation_id}`),
    booking: (booking_id: string) => call<Booking & ProblemBody>('GET', `/bookings/${booking_id}`),
    charges: async (reservation_id: string) =>
      (await call<{ charges: Charge[] }>('GET', `/sandbox/charges?reservation_id=${reservation_id}`)).body.charges,
  };
}
