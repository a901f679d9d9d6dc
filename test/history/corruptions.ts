/** Lies planted in a history that was true, each of which breaks a rule. */
import type { Reservation } from '../../domain/model.ts';
import type { Rule } from './checker.ts';
import type { Call, FinalReservation, FinalState, History, Hold, Outcome, Pay, Release } from './history.ts';
import type { Random } from './random.ts';

export interface Corruption {
  lie: string;
  breaks: Rule;
  /** Changes the history; false where it has nothing of the kind. */
  plant(history: History, random: Random): boolean;
}

type Granted = Hold & { outcome: Extract<Outcome<Reservation>, { type: 'ok' }> };
type Refused = Hold & { outcome: Extract<Outcome<Reservation>, { type: 'fail' }> };

const isHold = (call: Call): call is Hold => call.name === 'hold';
const isPay = (call: Call): call is Pay => call.name === 'pay';
/** The product took it on, or may have. */
const isTaken = ({ outcome }: Pay) => outcome.type !== 'fail' || outcome.code === 'PAYMENT_DECLINED';
const isRelease = (call: Call): call is Release => call.name === 'release';
const isGranted = (call: Call): call is Granted => isHold(call) && call.outcome.type === 'ok';
const isRefused = (call: Call): call is Refused => isHold(call) && call.outcome.type === 'fail';

/** Applies the lie to one of those that it fits. */
function toOneOf<T>(random: Random, those: T[], lie: (one: T) => void): boolean {
  if (those.length === 0) return false;
  lie(random.pick(those));
  return true;
}

interface Acknowledged {
  row: FinalReservation;
  ack: Granted;
}

/** Holds whose clients were told of them at once, the first to know being the client itself. */
function acknowledged({ calls, final }: History, ...statuses: FinalReservation['status'][]): Acknowledged[] {
  return final.reservations.flatMap((row) => {
    const those = calls.filter(isHold).filter(({ user_id }) => user_id === row.user_id);
    const [ack] = those.filter(isGranted);
    return ack && those.length === 1 && statuses.includes(row.status) ? [{ row, ack }] : [];
  });
}

const callsOf = ({ calls }: History, id: string) =>
  calls.filter((call) => 'reservation_id' in call && call.reservation_id === id);

/** Nobody was paying as the hold ran out, so that the product had no cause to take its seats once more. */
const isBeyondRescue = ({ calls }: History, { reservation_id, expires_at }: FinalReservation) =>
  !calls.some(
    (call) => isPay(call) && call.reservation_id === reservation_id && call.answered > expires_at && isTaken(call),
  );

const endOf = ({ calls }: History) =>
  Math.max(...calls.map(({ invoked, answered }) => (Number.isFinite(answered) ? answered : invoked)));

/** Another's hold of the seats, in full and from first to last, and free again in the end. */
function addHold({ calls, final }: History, seat_ids: string[], invoked: number, answered: number): void {
  const reservation: FinalReservation = {
    reservation_id: 'res-thief',
    user_id: 'thief',
    seat_ids,
    price: 1,
    status: 'EXPIRED',
    created_at: (invoked + answered) / 2,
    expires_at: answered + 400,
  };
  final.reservations.push(reservation);
  calls.push({
    name: 'hold',
    process: 99,
    invoked,
    answered,
    user_id: 'thief',
    seat_ids,
    outcome: granted(reservation),
  });
}

/** The answer to a hold. */
export function granted({ created_at, expires_at, price, ...row }: FinalReservation): Outcome<Reservation> {
  const body: Reservation = {
    ...row,
    event_id: 'event',
    status: 'HELD',
    price: { amount: price, currency: 'EUR' },
    created_at: new Date(created_at).toISOString(),
    expires_at: new Date(expires_at).toISOString(),
    expires_in_seconds: 0,
  };
  return { type: 'ok', body };
}

function addRead({ calls }: History, row: FinalReservation, status: FinalReservation['status'], at: number): void {
  const outcome = granted(row);
  if (outcome.type === 'ok') outcome.body.status = status;
  const { reservation_id } = row;
  calls.push({ name: 'read', process: 99, invoked: at, answered: at + 1, reservation_id, outcome });
}

function addCharge({ final }: History, { reservation_id, price }: FinalReservation, status: 'CAPTURED' | 'AUTHORIZED') {
  final.charges.push({ reservation_id, amount: price, status });
}

function remove<T>(items: T[], isUnwanted: (item: T) => boolean): void {
  items.splice(0, items.length, ...items.filter((item) => !isUnwanted(item)));
}

/** A hold, and another's of a seat of it that follows within `ms` of the first one's end. */
function successions(history: History, status: FinalReservation['status'], ms: number) {
  const holds = acknowledged(history, 'HELD', 'CONFIRMED', 'RELEASED', 'EXPIRED');
  return acknowledged(history, status).flatMap((before) =>
    holds
      .filter(
        ({ row, ack }) =>
          row.created_at > before.ack.answered &&
          row.seat_ids.some((seat) => before.row.seat_ids.includes(seat)) &&
          ack.answered < before.row.expires_at + ms &&
          row.expires_at > ack.answered + 100 &&
          !callsOf(history, row.reservation_id).some((call) => call.name === 'release'),
      )
      .map((after) => ({ before, after })),
  );
}

const heldFor =
  (ms: number) =>
  ({ row, ack }: Acknowledged) =>
    row.expires_at - ack.answered > ms;

const seatsOf = ({ seats }: FinalState, { seat_ids }: FinalReservation) =>
  seats.filter(({ seat_id }) => seat_ids.includes(seat_id));

export const CORRUPTIONS: Corruption[] = [
  {
    lie: 'a seat has two owners at once',
    breaks: 'one owner',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED').filter(heldFor(200)), ({ row, ack }) =>
        addHold(history, [row.seat_ids[0] ?? ''], ack.answered + 20, ack.answered + 40),
      ),
  },
  {
    lie: 'the last seat of several went to another, so that the hold was not whole',
    breaks: 'one owner',
    plant: (history, random) => {
      const several = acknowledged(history, 'CONFIRMED').filter(({ row }) => row.seat_ids.length > 1);
      return toOneOf(random, several, ({ row, ack }) =>
        addHold(history, [row.seat_ids.at(-1) ?? ''], ack.answered + 20, ack.answered + 40),
      );
    },
  },
  {
    lie: 'the owner of a seat has it still, after it expired and the next has it',
    breaks: 'one owner',
    plant: (history, random) => {
      const pairs = successions(history, 'EXPIRED', 2_000).filter(({ before }) => isBeyondRescue(history, before.row));
      return toOneOf(random, pairs, ({ before, after }) =>
        addRead(history, before.row, 'HELD', after.ack.answered + 1),
      );
    },
  },
  {
    lie: 'a hold is given to another before the time that its owner was promised',
    breaks: 'one owner',
    plant: (history, random) =>
      toOneOf(random, successions(history, 'EXPIRED', 1_000), ({ before: { row, ack } }) => {
        row.expires_at += 2_000;
        ack.outcome = { type: 'ok', body: { ...ack.outcome.body, expires_at: new Date(row.expires_at).toISOString() } };
      }),
  },
  {
    lie: 'a release comes after the next owner',
    breaks: 'one owner',
    plant: (history, random) => {
      const pairs = successions(history, 'RELEASED', 2_000).filter(
        ({ before }) => callsOf(history, before.row.reservation_id).filter(isRelease).length === 1,
      );
      return toOneOf(random, pairs, ({ before, after }) => {
        for (const call of callsOf(history, before.row.reservation_id).filter(isRelease)) {
          const late = after.ack.answered + 1 - call.invoked;
          call.invoked += late;
          call.answered += late;
        }
        remove(history.calls, (call) => call.name === 'read' && call.reservation_id === before.row.reservation_id);
      });
    },
  },
  {
    lie: 'a hold is seen expired before its time',
    breaks: 'no early expiry',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED').filter(heldFor(200)), ({ row, ack }) =>
        addRead(history, row, 'EXPIRED', ack.answered + 1),
      ),
  },
  {
    lie: 'an acknowledged hold is lost',
    breaks: 'acknowledged is kept',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED', 'RELEASED'), ({ row }) =>
        remove(history.final.reservations, (it) => it === row),
      ),
  },
  {
    lie: 'a hold is acknowledged before it is made',
    breaks: 'acknowledged is kept',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'CONFIRMED', 'EXPIRED'), ({ row, ack }) => {
        row.created_at = ack.answered + 100;
      }),
  },
  {
    lie: 'a client does not find its reservation',
    breaks: 'acknowledged is kept',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED', 'CONFIRMED'), ({ row: { reservation_id }, ack: { answered } }) =>
        history.calls.push({
          name: 'read',
          process: 99,
          invoked: answered + 1,
          answered: answered + 2,
          reservation_id,
          outcome: { type: 'fail', code: 'RESERVATION_NOT_FOUND', conflicts: [], booking_id: undefined },
        }),
      ),
  },
  {
    lie: 'a hold of several seats got some of them',
    breaks: 'granted in full',
    plant: (history, random) => {
      const several = acknowledged(history, 'EXPIRED', 'RELEASED').filter(({ row }) => row.seat_ids.length > 1);
      return toOneOf(random, several, ({ row }) => row.seat_ids.pop());
    },
  },
  {
    lie: 'a seat is refused long after it became free',
    breaks: 'refused for a reason',
    plant: (history, random) => {
      const free = history.final.seats.filter((seat) => {
        const owners = history.final.reservations.filter(({ seat_ids }) => seat_ids.includes(seat.seat_id));
        const isPaid = ({ reservation_id }: FinalReservation) => callsOf(history, reservation_id).some(isPay);
        return seat.status === 'AVAILABLE' && !owners.some(isPaid);
      });
      return toOneOf(random, free, ({ seat_id }) => {
        const invoked = endOf(history) + 15_000;
        const outcome = {
          type: 'fail' as const,
          code: 'SEATS_UNAVAILABLE',
          conflicts: [seat_id],
          booking_id: undefined,
        };
        const asked = { user_id: 'late', seat_ids: [seat_id] };
        history.calls.push({ name: 'hold', process: 99, invoked, answered: invoked + 5, ...asked, outcome });
      });
    },
  },
  {
    lie: 'a refusal names a seat that nobody asked for',
    breaks: 'refused for a reason',
    plant: (history, random) =>
      toOneOf(random, history.calls.filter(isRefused), ({ outcome }) => outcome.conflicts.push('seat-of-nobody')),
  },
  {
    lie: 'a hold that was refused is there',
    breaks: 'refused is not held',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED', 'CONFIRMED'), ({ ack }) => {
        const outcome = {
          type: 'fail' as const,
          code: 'SEATS_UNAVAILABLE',
          conflicts: ack.seat_ids,
          booking_id: undefined,
        };
        history.calls.push({ ...ack, outcome });
        remove(history.calls, (call) => call === ack);
      }),
  },
  {
    lie: 'a repeat is answered otherwise',
    breaks: 'repeat answered alike',
    plant: (history, random) =>
      toOneOf(random, history.calls.filter(isRefused), (refused) => {
        const { user_id, seat_ids } = refused;
        const reservation: FinalReservation = {
          reservation_id: 'res-second-thought',
          user_id,
          seat_ids,
          price: 1,
          status: 'EXPIRED',
          created_at: refused.answered,
          expires_at: refused.answered + 400,
        };
        history.calls.push({ ...refused, outcome: granted(reservation) });
      }),
  },
  {
    lie: 'a hold never ends',
    breaks: 'no late expiry',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED'), ({ row }) => {
        row.status = 'HELD';
      }),
  },
  {
    lie: 'a hold outlives its deadline',
    breaks: 'no late expiry',
    plant: (history, random) => {
      const unpaid = acknowledged(history, 'EXPIRED').filter(
        ({ row }) => !callsOf(history, row.reservation_id).some(isPay),
      );
      return toOneOf(random, unpaid, ({ row }) => addRead(history, row, 'HELD', row.expires_at + 6_000));
    },
  },
  {
    lie: 'a reservation that has ended is held again',
    breaks: 'one ending',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'CONFIRMED', 'RELEASED'), ({ row }) => {
        addRead(history, row, row.status, endOf(history) + 10);
        addRead(history, row, 'HELD', endOf(history) + 20);
      }),
  },
  {
    lie: 'a reservation is released unasked',
    breaks: 'one ending',
    plant: (history, random) => {
      const unasked = acknowledged(history, 'EXPIRED').filter(
        ({ row }) => callsOf(history, row.reservation_id).length === 0,
      );
      return toOneOf(random, unasked, ({ row }) => {
        row.status = 'RELEASED';
      });
    },
  },
  {
    lie: 'a booking that is confirmed was seen to have failed',
    breaks: 'money is booked',
    plant: ({ calls }, random) => {
      const confirmed = calls
        .filter(isPay)
        .flatMap(({ outcome }) => (outcome.type === 'ok' && outcome.body.status === 'CONFIRMED' ? [outcome] : []));
      return toOneOf(random, confirmed, ({ body: { reservation_id, ...booking } }) => {
        const outcome = { type: 'ok', body: { ...booking, reservation_id, status: 'FAILED' } } as const;
        calls.push({ name: 'booking', process: 99, invoked: 0, answered: 1, reservation_id, outcome });
      });
    },
  },
  {
    lie: 'a confirmed reservation is not, in the end',
    breaks: 'ended as told',
    plant: (history, random) => {
      const paid = acknowledged(history, 'CONFIRMED').filter(({ row }) =>
        callsOf(history, row.reservation_id).some((call) => isPay(call) && call.outcome.type === 'ok'),
      );
      return toOneOf(random, paid, ({ row }) => {
        row.status = 'EXPIRED';
      });
    },
  },
  {
    lie: 'the payment of the loser counts: told that it came too late, and confirmed',
    breaks: 'ended as told',
    plant: (history, random) => {
      const late = acknowledged(history, 'EXPIRED').filter(
        ({ row }) =>
          isBeyondRescue(history, row) &&
          callsOf(history, row.reservation_id).some(
            ({ outcome }) => outcome.type === 'fail' && outcome.code === 'RESERVATION_EXPIRED',
          ),
      );
      return toOneOf(random, late, ({ row }) => {
        const { reservation_id } = row;
        row.status = 'CONFIRMED';
        addCharge(history, row, 'CAPTURED');
        history.final.bookings.push({ reservation_id, booking_id: 'book-loser', status: 'CONFIRMED' });
        for (const seat of seatsOf(history.final, row)) Object.assign(seat, { status: 'BOOKED', reservation_id });
      });
    },
  },
  {
    lie: 'a declined card pays',
    breaks: 'money is booked',
    plant: ({ calls, final }, random) => {
      const declined = calls
        .filter(isPay)
        .filter(({ outcome }) => outcome.type === 'fail' && outcome.booking_id !== undefined);
      return toOneOf(random, declined, ({ outcome }) => {
        for (const booking of final.bookings) {
          if (outcome.type === 'fail' && booking.booking_id === outcome.booking_id) booking.status = 'CONFIRMED';
        }
      });
    },
  },
  {
    lie: 'a booking is charged twice',
    breaks: 'money is booked',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'CONFIRMED'), ({ row }) => addCharge(history, row, 'CAPTURED')),
  },
  {
    lie: 'what was not booked is charged',
    breaks: 'money is booked',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED', 'RELEASED'), ({ row }) => addCharge(history, row, 'CAPTURED')),
  },
  {
    lie: 'money stays reserved',
    breaks: 'money is booked',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'EXPIRED', 'RELEASED'), ({ row }) => addCharge(history, row, 'AUTHORIZED')),
  },
  {
    lie: 'what was booked is not charged',
    breaks: 'money is booked',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'CONFIRMED'), ({ row }) =>
        remove(history.final.charges, ({ reservation_id }) => reservation_id === row.reservation_id),
      ),
  },
  {
    lie: 'a booking is lost',
    breaks: 'money is booked',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'CONFIRMED'), ({ row }) =>
        remove(history.final.bookings, ({ reservation_id }) => reservation_id === row.reservation_id),
      ),
  },
  {
    lie: 'a sold seat is for sale in the end',
    breaks: 'seats as sold',
    plant: (history, random) =>
      toOneOf(random, acknowledged(history, 'CONFIRMED'), ({ row }) => {
        Object.assign(random.pick(seatsOf(history.final, row)), { status: 'AVAILABLE', reservation_id: null });
      }),
  },
  {
    lie: 'a seat stays held by a reservation that has ended',
    breaks: 'seats as sold',
    plant: (history, random) => {
      const free = history.final.seats.filter(({ status }) => status === 'AVAILABLE');
      return toOneOf(random, free, (seat) => Object.assign(seat, { status: 'HELD', reservation_id: 'res-1' }));
    },
  },
  {
    lie: 'a seat map shows a sold seat as free',
    breaks: 'map as it was',
    plant: (history, random) => {
      const sold = acknowledged(history, 'CONFIRMED').filter(({ row }) => isBeyondRescue(history, row));
      return toOneOf(random, sold, ({ row }) => {
        const invoked = endOf(history) + 10_000;
        const body = row.seat_ids.map((seat_id) => ({ seat_id, status: 'AVAILABLE' as const }));
        const outcome = { type: 'ok' as const, body };
        history.calls.push({ name: 'map', process: 99, invoked, answered: invoked + 1, outcome });
      });
    },
  },
];
