/** Histories of a box office that is correct: a lock with one owner for each seat, in a time of its own. */
import type { Booking, Reservation, SeatStatus } from '../../domain/model.ts';
import type { Call, FinalReservation, FinalState, History, Outcome } from './history.ts';
import { Random } from './random.ts';

const EVENT = 'event';
const PRICE = 2_500;
const HOLD_MS = 400;
const CLIENTS = 8;
const LONGEST_STEP_MS = 30;
const START = Date.parse('2030-01-01T20:00:00Z');

interface Row extends FinalReservation {
  isPaying: boolean;
}

/** Effects take place in the order of their times, each between its call and its answer, or later where that is lost. */
class BoxOffice {
  readonly #due: { at: number; run: () => void }[] = [];
  readonly #answers = new Map<string, Outcome<Reservation>>();
  readonly rows: Row[] = [];
  readonly bookings: Booking[] = [];
  readonly charges: FinalState['charges'] = [];
  readonly seats: Map<string, { status: SeatStatus; reservation_id: string | null }>;
  now = START;

  constructor(
    readonly random: Random,
    readonly seat_ids: string[],
  ) {
    this.seats = new Map(seat_ids.map((seat) => [seat, { status: 'AVAILABLE', reservation_id: null }]));
  }

  after(ms: number, run: () => void): void {
    this.#due.push({ at: this.now + ms, run });
  }

  run(): void {
    for (;;) {
      this.#due.sort((one, other) => one.at - other.at);
      const next = this.#due.shift();
      if (!next) return;
      this.now = next.at;
      next.run();
    }
  }

  step = () => this.random.next() * LONGEST_STEP_MS;

  hold(user_id: string, seat_ids: string[]): Outcome<Reservation> {
    const answer = this.#answers.get(user_id) ?? this.#hold(user_id, seat_ids);
    this.#answers.set(user_id, answer);
    return answer;
  }

  #hold(user_id: string, seat_ids: string[]): Outcome<Reservation> {
    const taken = seat_ids.filter((seat) => this.seats.get(seat)?.status !== 'AVAILABLE');
    if (taken.length > 0) {
      const conflicts = this.random.sample(taken, this.random.int(1, taken.length));
      return { type: 'fail', code: 'SEATS_UNAVAILABLE', conflicts, booking_id: undefined };
    }
    const row: Row = {
      reservation_id: `res-${this.rows.length + 1}`,
      user_id,
      seat_ids,
      price: PRICE * seat_ids.length,
      status: 'HELD',
      created_at: this.now,
      expires_at: this.now + HOLD_MS,
      isPaying: false,
    };
    this.rows.push(row);
    this.#move(row, 'HELD');
    this.after(HOLD_MS + this.step(), () => this.#expire(row));
    return { type: 'ok', body: this.#reservation(row) };
  }

  #move(row: Row, status: SeatStatus): void {
    const reservation_id = status === 'AVAILABLE' ? null : row.reservation_id;
    for (const seat of row.seat_ids) this.seats.set(seat, { status, reservation_id });
  }

  #end(row: Row, status: Row['status']): void {
    row.status = status;
    this.#move(row, status === 'CONFIRMED' ? 'BOOKED' : 'AVAILABLE');
  }

  #expire(row: Row): void {
    if (row.status === 'HELD' && !row.isPaying) this.#end(row, 'EXPIRED');
  }

  #reservation({ isPaying: _, created_at, expires_at, price, ...row }: Row): Reservation {
    return {
      ...row,
      event_id: EVENT,
      price: { amount: price, currency: 'EUR' },
      created_at: new Date(created_at).toISOString(),
      expires_at: new Date(expires_at).toISOString(),
      expires_in_seconds: 0,
    };
  }

  #row(id: string): Row {
    const row = this.rows.find((it) => it.reservation_id === id);
    if (!row) throw new TypeError(`no reservation ${id}`);
    return row;
  }

  read(id: string): Outcome<Reservation> {
    return { type: 'ok', body: this.#reservation(this.#row(id)) };
  }

  release(id: string): Outcome<Reservation> {
    const row = this.#row(id);
    if (row.isPaying) return refusal('PAYMENT_IN_PROGRESS');
    if (row.status === 'HELD') this.#end(row, 'RELEASED');
    if (row.status === 'RELEASED') return this.read(id);
    return refusal(row.status === 'CONFIRMED' ? 'ALREADY_CONFIRMED' : 'RESERVATION_EXPIRED');
  }

  pay(id: string, token: string, answer: (outcome: Outcome<Booking>) => void): void {
    const row = this.#row(id);
    const paid = this.bookings.find((it) => it.reservation_id === id && it.status === 'CONFIRMED');
    if (paid) return answer({ type: 'ok', body: { ...paid } });
    if (row.isPaying) return answer(refusal('PAYMENT_IN_PROGRESS'));
    if (row.status !== 'HELD') return answer(refusal(`RESERVATION_${row.status}`));
    row.isPaying = true;
    const { reservation_id, user_id, seat_ids } = row;
    const booking: Booking = {
      booking_id: `book-${this.bookings.length + 1}`,
      reservation_id,
      event_id: EVENT,
      user_id,
      seat_ids,
      price: { amount: row.price, currency: 'EUR' },
      status: 'PENDING',
      created_at: new Date(this.now).toISOString(),
    };
    this.bookings.push(booking);
    this.after(this.step(), () => {
      row.isPaying = false;
      const isDeclined = token === 'tok_declined';
      this.charges.push({ reservation_id, amount: row.price, status: isDeclined ? 'DECLINED' : 'CAPTURED' });
      booking.status = isDeclined ? 'FAILED' : 'CONFIRMED';
      if (!isDeclined) this.#end(row, 'CONFIRMED');
      else if (this.now > row.expires_at) this.#expire(row);
      const { booking_id } = booking;
      answer(
        isDeclined
          ? { type: 'fail', code: 'PAYMENT_DECLINED', conflicts: [], booking_id }
          : { type: 'ok', body: { ...booking } },
      );
    });
  }

  map() {
    return [...this.seats].map(([seat_id, { status }]) => ({ seat_id, status }));
  }

  final(): FinalState {
    return {
      reservations: this.rows.map(({ isPaying: _, ...row }) => row),
      refused: [],
      bookings: this.bookings,
      charges: this.charges,
      seats: [...this.seats].map(([seat_id, seat]) => ({ seat_id, ...seat })),
    };
  }
}

const refusal = (code: string) => ({ type: 'fail' as const, code, conflicts: [], booking_id: undefined });

/** What 8 clients could have seen, calls and answers interleaved at random; some answers are lost, some effects too. */
export function simulateHistory(seed: number, callsOfEach = 40): History {
  const random = new Random(seed);
  const seat_ids = Array.from({ length: random.int(3, 20) }, (_, n) => `seat-${n + 1}`);
  const office = new BoxOffice(random, seat_ids);
  const calls: Call[] = [];

  function client(process: number): void {
    const mine: string[] = [];
    let holds: { user_id: string; seat_ids: string[] }[] = [];
    let left = callsOfEach;
    const next = () => {
      if (left-- > 0) office.after(office.step(), call);
    };

    /** The effect comes between the call and its answer; where the answer is lost, at any time from the call on. */
    function perform<Body>(
      effect: (answer: (outcome: Outcome<Body>) => void) => void,
      record: (called: { process: number; invoked: number; answered: number; outcome: Outcome<Body> }) => void,
    ): void {
      const invoked = office.now;
      if (random.chance(0.08)) {
        if (random.chance(0.7)) office.after(random.next() * 5 * LONGEST_STEP_MS, () => effect(() => undefined));
        const outcome = { type: 'unknown' as const, why: 'lost' };
        record({ process, invoked, answered: Number.POSITIVE_INFINITY, outcome });
        office.after(office.step(), next);
        return;
      }
      office.after(office.step(), () =>
        effect((outcome) =>
          office.after(office.step(), () => {
            record({ process, invoked, answered: office.now, outcome: structuredClone(outcome) });
            next();
          }),
        ),
      );
    }

    function call(): void {
      const what = random.next();
      const target = mine.length > 0 ? random.pick(mine.slice(-3)) : undefined;
      if (what < 0.1) {
        perform<ReturnType<BoxOffice['map']>>(
          (answer) => answer({ type: 'ok', body: office.map() }),
          (called) => calls.push({ name: 'map', ...called }),
        );
      } else if (what < 0.5 || target === undefined) {
        const repeated = holds.length > 0 && random.chance(0.15) ? random.pick(holds) : undefined;
        const asked = repeated ?? {
          user_id: `user-${process}-${left}`,
          seat_ids: random.sample(seat_ids, random.int(1, 3)),
        };
        holds = [...holds, asked].slice(-3);
        perform<Reservation>(
          (answer) => answer(office.hold(asked.user_id, asked.seat_ids)),
          (called) => {
            calls.push({ name: 'hold', ...called, ...asked });
            if (called.outcome.type === 'ok') mine.push(called.outcome.body.reservation_id);
          },
        );
      } else if (what < 0.6) {
        const payment_token = random.pick(['tok_visa', 'tok_declined']);
        perform<Booking>(
          (answer) => office.pay(target, payment_token, answer),
          (called) => calls.push({ name: 'pay', ...called, payment_token, reservation_id: target }),
        );
      } else if (what < 0.75) {
        perform<Reservation>(
          (answer) => answer(office.release(target)),
          (called) => calls.push({ name: 'release', ...called, reservation_id: target }),
        );
      } else {
        perform<Reservation>(
          (answer) => answer(office.read(target)),
          (called) => calls.push({ name: 'read', ...called, reservation_id: target }),
        );
      }
    }
    next();
  }

  for (let process = 1; process <= CLIENTS; process++) client(process);
  office.run();
  return { calls, final: office.final() };
}
