/**
 * A history: what clients saw of one event, call by call, and what was there in the end. Record it like this, and give
 * it to {@link checkHistory} (`checker.ts`):
 *
 *     const recorder = new Recorder(url);
 *     const ann = recorder.client(1, event_id); // a process of its own makes one call after the other
 *     await ann.hold('ann-1', seat_ids);        // a hold that is meant anew has a new user; a repeat has the same
 *     await ann.pay(reservation_id, 'tok_visa');
 *     const final = await readFinalState(database, event_id); // once nothing is under way any more
 *     const violations = checkHistory({ calls: recorder.calls, final });
 */
import type { Client } from '@temporalio/client';
import type { Pool } from 'pg';
import type { Booking, Charge, Reservation, Seat, SeatStatus } from '../../domain/model.ts';
import type { ProblemBody } from '../support/buyer.ts';
import { Connection, type Reply, type Request } from './connection.ts';

/** Unknown: no answer (timeout, connection lost, given up) or a 5xx; the call may take effect at any later time. */
export type Outcome<Body> =
  | { type: 'ok'; body: Body }
  | { type: 'fail'; code: string; conflicts: string[]; booking_id: string | undefined }
  | { type: 'unknown'; why: string };

/** What each call is answered when it is `ok`. */
interface Bodies {
  hold: Reservation;
  pay: Booking;
  release: Reservation;
  read: Reservation;
  booking: Booking;
  map: Pick<Seat, 'seat_id' | 'status'>[];
}

/** Times are milliseconds on one monotonic clock that began at the epoch. */
interface Called<Name extends keyof Bodies> {
  name: Name;
  /** Who called: one call after the other. */
  process: number;
  invoked: number;
  /** Infinity where the outcome is unknown: it may come about at any time from `invoked` on. */
  answered: number;
  outcome: Outcome<Bodies[Name]>;
}

interface OfReservation {
  reservation_id: string;
}

export interface Hold extends Called<'hold'> {
  user_id: string;
  seat_ids: string[];
}
export interface Pay extends Called<'pay'>, OfReservation {
  /** None where the buyer paid on the gateway's own page: it tells of that when it likes, also after the deadline. */
  payment_token?: string;
}
export interface Release extends Called<'release'>, OfReservation {}
export interface Read extends Called<'read'>, OfReservation {}
export interface ReadBooking extends Called<'booking'>, OfReservation {}
export type ReadMap = Called<'map'>;
export type Call = Hold | Pay | Release | Read | ReadBooking | ReadMap;

/** A reservation that was granted, as PostgreSQL has it in the end. */
export interface FinalReservation {
  reservation_id: string;
  user_id: string;
  seat_ids: string[];
  price: number;
  status: Reservation['status'];
  /** Both in milliseconds since the epoch, by PostgreSQL's clock. */
  created_at: number;
  expires_at: number;
}

export interface FinalState {
  reservations: FinalReservation[];
  /** Holds that were begun and not granted: they may have had locks, until about `refused_at` of PostgreSQL's clock. */
  refused: { user_id: string; seat_ids: string[]; refused_at: number }[];
  bookings: Pick<Booking, 'booking_id' | 'reservation_id' | 'status'>[];
  charges: Pick<Charge, 'reservation_id' | 'amount' | 'status'>[];
  seats: { seat_id: string; status: SeatStatus; reservation_id: string | null }[];
}

export interface History {
  calls: Call[];
  final: FinalState;
  /** Reservations whose workflow an operator terminated: no code of it could tell anybody what it had. */
  terminated?: ReadonlySet<string>;
}

/** Milliseconds since the epoch as they were at the start of this process, and monotonic from then on. */
const now = () => performance.timeOrigin + performance.now();

export interface Patience {
  /** Given up after this: the request's connection is closed and the outcome is unknown. */
  give_up_after_ms?: number;
}

interface HoldOptions extends Patience {
  /** Without a key it is never to be repeated, and costs the product less. */
  isKeyed?: boolean;
}

const LONGEST_CALL_MS = 40_000;

/** Records the calls of all clients of one history. */
export class Recorder {
  readonly calls: Call[] = [];
  readonly #connections: Connection[] = [];
  readonly #url: string;

  /** @param url of the API, without the base path */
  constructor(url: string) {
    this.#url = url;
  }

  /** Closes the connections that are kept. */
  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  /** One client: a process in the sense of the checker, which never has two calls under way. */
  client(process: number, event_id: string) {
    const connection = new Connection(this.#url);
    this.#connections.push(connection);
    const ask = <Name extends keyof Bodies>(name: Name, asked: Request, patience?: Patience) =>
      this.#call(name, process, () => connection.send(asked, patience?.give_up_after_ms ?? LONGEST_CALL_MS));
    const keep = <C extends Call>(call: C): C => {
      this.calls.push(call);
      return call;
    };
    return {
      /** The user's name is the idempotency key too: a second call for the same user is a repeat of the first. */
      hold: async (user_id: string, seat_ids: string[], { isKeyed = true, ...patience }: HoldOptions = {}) => {
        const body = { event_id, seat_ids, user_id };
        const headers: Record<string, string> = isKeyed ? { 'idempotency-key': user_id } : {};
        const asked = { method: 'POST', path: '/reservations', body, headers };
        return keep<Hold>({ ...(await ask('hold', asked, patience)), user_id, seat_ids });
      },
      /** Waits for the outcome, so that `ok` is CONFIRMED; PENDING only where the payment took longer than that. */
      pay: async (reservation_id: string, payment_token: string, patience?: Patience) => {
        const body = { reservation_id, payment_token };
        const asked = { method: 'POST', path: '/bookings', body, headers: { prefer: 'wait=20' } };
        return keep<Pay>({ ...(await ask('pay', asked, patience)), reservation_id, payment_token });
      },
      /** Does not wait for the outcome, so that `ok` is PENDING as a rule: {@link readBooking} tells what became of it. */
      order: async (reservation_id: string, payment_token: string, patience?: Patience) => {
        const asked = { method: 'POST', path: '/bookings', body: { reservation_id, payment_token } };
        return keep<Pay>({ ...(await ask('pay', asked, patience)), reservation_id, payment_token });
      },
      readBooking: async ({ booking_id, reservation_id }: Booking) => {
        const asked = { method: 'GET', path: `/bookings/${booking_id}` };
        return keep<ReadBooking>({ ...(await ask('booking', asked)), reservation_id });
      },
      release: async (reservation_id: string, patience?: Patience) => {
        const asked = { method: 'DELETE', path: `/reservations/${reservation_id}` };
        return keep<Release>({ ...(await ask('release', asked, patience)), reservation_id });
      },
      read: async (reservation_id: string) => {
        const asked = { method: 'GET', path: `/reservations/${reservation_id}` };
        return keep<Read>({ ...(await ask('read', asked)), reservation_id });
      },
      readMap: async () => keep<ReadMap>(await ask('map', { method: 'GET', path: `/events/${event_id}/seats` })),
    };
  }

  async #call<Name extends keyof Bodies>(
    name: Name,
    process: number,
    send: () => Promise<Reply>,
  ): Promise<Called<Name>> {
    const invoked = now();
    const unknown = (why: string): Called<Name> => ({
      name,
      process,
      invoked,
      answered: Number.POSITIVE_INFINITY,
      outcome: { type: 'unknown', why },
    });
    try {
      const { status, text } = await send();
      const answered = now();
      if (status < 300) {
        const body: Bodies[Name] = JSON.parse(text);
        return { name, process, invoked, answered, outcome: { type: 'ok', body } };
      }
      const { code, conflicts = [], booking_id }: Refusal = JSON.parse(text);
      if (status >= 500) return unknown(code);
      return { name, process, invoked, answered, outcome: { type: 'fail', code, conflicts, booking_id } };
    } catch (error) {
      return unknown(error instanceof Error ? error.name : String(error));
    }
  }
}

type Refusal = ProblemBody & { booking_id?: string };

/** The reservations of an event that are under way, as an operator finds them in the Temporal UI. */
export const runningReservations = (event_id: string) =>
  `WorkflowType = 'reservation' AND EventId = '${event_id}' AND ExecutionStatus = 'Running'`;

/** Whether something of the event is still to end by itself: a hold, a payment, or a workflow, which may yet hold. */
export async function isUnderWay(database: Pool, temporal: Client, event_id: string): Promise<boolean> {
  const { rowCount } = await database.query(
    `SELECT 1 FROM reservations LEFT JOIN bookings USING (reservation_id)
     WHERE event_id = $1 AND (reservations.status = 'HELD' OR bookings.status = 'PENDING') LIMIT 1`,
    [event_id],
  );
  return rowCount !== 0 || (await temporal.workflow.count(runningReservations(event_id))).count > 0;
}

/** What PostgreSQL and the sandbox gateway have of an event. */
export async function readFinalState(database: Pool, event_id: string): Promise<FinalState> {
  const all = async <Row extends object>(sql: string) => (await database.query<Row>(sql, [event_id])).rows;
  return {
    reservations: await all<FinalReservation>(
      `SELECT reservation_id, user_id, seat_ids, price, status,
              extract(epoch FROM created_at)::float8 * 1000 AS created_at,
              extract(epoch FROM expires_at)::float8 * 1000 AS expires_at
       FROM reservations WHERE event_id = $1 AND status <> 'REFUSED'`,
    ),
    refused: await all(
      `SELECT user_id, seat_ids, extract(epoch FROM created_at)::float8 * 1000 AS refused_at
       FROM reservations WHERE event_id = $1 AND status = 'REFUSED'`,
    ),
    bookings: await all(
      `SELECT booking_id, reservation_id, bookings.status
       FROM bookings JOIN reservations USING (reservation_id) WHERE event_id = $1`,
    ),
    charges: await all(
      `SELECT reservation_id, amount, charges.status
       FROM sandbox_gateway.charges JOIN reservations USING (reservation_id) WHERE event_id = $1`,
    ),
    seats: await all(`SELECT seat_id, status, reservation_id FROM seats WHERE event_id = $1`),
  };
}
