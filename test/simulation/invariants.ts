/** The contract's invariants for one world that has come to its end; each answers what is wrong, in words. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Ending } from '../../domain/model.ts';
import { bookedSeats, seatLock } from '../../domain/redis-keys.ts';
import type { Reserved } from '../../workflows/messages.ts';
import type { Answer, Simulated, World, WorldDependencies } from './world.ts';

/** Notes every change of a seat's or a reservation's status, whoever makes it. */
export const RECORD_CHANGES = `
CREATE TABLE changes (
  n bigserial PRIMARY KEY, of varchar(64) NOT NULL, old_status varchar(16), new_status varchar(16) NOT NULL,
  old_owner varchar(64), new_owner varchar(64), old_fence bigint, new_fence bigint NOT NULL
);
CREATE INDEX changes_of ON changes (of);
CREATE FUNCTION record_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO changes (of, old_status, new_status, old_owner, new_owner, old_fence, new_fence)
  VALUES (NEW.seat_id, OLD.status, NEW.status, OLD.reservation_id, NEW.reservation_id, OLD.fence, NEW.fence);
  RETURN NULL;
END $$;
CREATE TRIGGER record_seat AFTER UPDATE OF status ON seats FOR EACH ROW EXECUTE FUNCTION record_seat();
CREATE FUNCTION record_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO changes (of, old_status, new_status, old_fence, new_fence)
  VALUES (NEW.reservation_id, OLD.status, NEW.status, OLD.fence, NEW.fence);
  RETURN NULL;
END $$;
CREATE TRIGGER record_reservation AFTER UPDATE OF status ON reservations
  FOR EACH ROW EXECUTE FUNCTION record_reservation();
`;

interface Change {
  of: string;
  old_status: string;
  new_status: string;
  old_owner: string | null;
  new_owner: string | null;
  old_fence: string;
  new_fence: string;
}

interface Charge {
  charge_id: string;
  reservation_id: string;
  amount: number;
  status: string;
}

interface Booking {
  booking_id: string;
  reservation_id: string;
  status: string;
  failure_code: string | null;
}

type Seen = Awaited<ReturnType<typeof look>>;

/** All that PostgreSQL and Redis know of a world. */
async function look({ event_id, seat_ids, reservations }: World, { database, redis }: WorldDependencies) {
  const ids = reservations.map(({ reservation_id }) => reservation_id);
  const told = reservations.flatMap(({ webhooks }) => webhooks.map(({ charge_id }) => charge_id));
  const rows = async <Row extends object>(sql: string, ...keys: unknown[]) =>
    (await database.query<Row & Record<string, unknown>>(sql, keys)).rows;
  return {
    seats: await rows<{ seat_id: string; status: string; reservation_id: string | null }>(
      'SELECT seat_id, status, reservation_id FROM seats WHERE event_id = $1',
      event_id,
    ),
    statuses: await rows<{ reservation_id: string; status: string; price: number }>(
      'SELECT reservation_id, status, price FROM reservations WHERE event_id = $1',
      event_id,
    ),
    bookings: await rows<Booking>('SELECT * FROM bookings WHERE reservation_id = ANY($1)', ids),
    charges: await rows<Charge>(
      'SELECT * FROM sandbox_gateway.charges WHERE reservation_id = ANY($1) OR charge_id = ANY($2)',
      ids,
      told,
    ),
    changes: await rows<Change>('SELECT * FROM changes WHERE of = ANY($1) ORDER BY n', [...seat_ids, ...ids]),
    locks: await redis.mget(seat_ids.map((seatId) => seatLock(event_id, seatId))),
    marked: await redis.smembers(bookedSeats(event_id)),
  };
}

/** How long a reservation at whose end nothing is left to wait for may take to say so. */
const STUCK_MS = 20_000;

/** How the reservations of a world ended whose time is over, and what is wrong with it, in words. */
export async function findBreaches(
  world: World,
  outside: WorldDependencies,
): Promise<{ ended: Ending[]; breaches: string[] }> {
  const breaches: string[] = [];
  const ends: End[] = [];
  for (const reservation of world.reservations) {
    const answers = [reservation.reserved, [...reservation.payments.values()].flat(), reservation.releases].flat();
    const ended = Promise.all([reservation.workflow.result(), ...answers]);
    const ending = await Promise.race([ended.then(([it]) => it), delay(STUCK_MS, 'STUCK' as const, { ref: false })]);
    if (ending === 'STUCK')
      return { ended: [], breaches: [`${reservation.reservation_id} never ended, or never answered`] };
    ends.push({ ...reservation, ending });
  }
  const seen = await look(world, outside);
  for (const end of ends) {
    const wrong = [
      ...wrongStatus(end, seen),
      ...(await wrongMoney(end, seen)),
      ...wrongHold(end, ends, await Promise.all(end.reserved)),
      ...(await wrongPayments(end, seen)),
      ...wrongReleases(end, await Promise.all(end.releases)),
      ...wrongOrder(end),
    ];
    breaches.push(...wrong.map((what) => `reservation ${ends.indexOf(end)}, ${end.ending}: ${what}`));
  }
  breaches.push(...wrongSeats(ends, seen), ...wrongChanges(seen.changes));
  return { ended: ends.map(({ ending }) => ending), breaches };
}

interface End extends Simulated {
  ending: Ending;
}

function wrongStatus({ reservation_id, ending }: End, { statuses, bookings }: Seen): string[] {
  const mine = bookings.filter((booking) => booking.reservation_id === reservation_id);
  const live = mine.filter(({ status }) => status !== 'FAILED').map(({ status }) => status);
  const status = statuses.find((row) => row.reservation_id === reservation_id)?.status ?? 'REFUSED';
  return [
    ...(status === ending ? [] : [`PostgreSQL says ${status}`]),
    ...(live.join() === (ending === 'CONFIRMED' ? 'CONFIRMED' : '') ? [] : [`its bookings are ${live.join()}`]),
  ];
}

/** Taken once and in full where it is confirmed; else given back. A charge that nobody told of stays as it was. */
async function wrongMoney({ reservation_id, ending, price, webhooks }: End, { charges }: Seen): Promise<string[]> {
  const arrived = new Set<string>();
  for (const webhook of webhooks) if (await webhook.arrived) arrived.add(webhook.charge_id);
  const told = new Set(webhooks.map(({ charge_id }) => charge_id));
  const mine = charges.filter((charge) => charge.reservation_id === reservation_id);
  const captured = mine.filter(({ status }) => status === 'CAPTURED').map(({ amount }) => amount);
  const open = mine.filter(
    ({ charge_id, status }) => status === 'AUTHORIZED' && !(told.has(charge_id) && !arrived.has(charge_id)),
  );
  const others = charges.filter((charge) => charge.reservation_id !== reservation_id && told.has(charge.charge_id));
  return [
    ...(captured.join() === (ending === 'CONFIRMED' ? String(price) : '')
      ? []
      : [`took ${captured.join()} of ${price}`]),
    ...(open.length === 0 ? [] : ['left money reserved']),
    ...(others.every(({ status }) => status === 'AUTHORIZED') ? [] : ['touched the money of another']),
  ];
}

const answersOf = <T>(answers: Answer<T>[]) =>
  answers.flatMap((answer) => (typeof answer === 'object' && 'answered' in answer ? [answer.answered] : []));
const isSame = (answers: unknown[]) => new Set(answers.map((answer) => JSON.stringify(answer))).size <= 1;

/** A payment that was undone raises it, and no buyer is told. */
const withoutFence = (reserved: Reserved) =>
  reserved.status === 'HELD' ? { ...reserved, hold: { ...reserved.hold, fence: undefined } } : reserved;

function wrongHold(
  { ending, seat_ids, mayBeReleased, reservation_id }: End,
  ends: End[],
  answers: Answer<Reserved>[],
): string[] {
  const told = answersOf(answers).map(withoutFence);
  // Whoever asks again once the seats were given back is told that nothing is held.
  const givenBackAt = ending === 'RELEASED' ? told.findIndex(({ status }) => status === 'FAILED') : -1;
  const [before, after] = givenBackAt < 0 ? [told, []] : [told.slice(0, givenBackAt), told.slice(givenBackAt)];
  const isOneStory = isSame(before) && isSame(after);
  const wrong = isOneStory ? [] : [`its hold was answered in two ways: ${JSON.stringify(told)}`];
  if (answers.includes('LOST')) wrong.push('its hold was never answered');
  const [reserved] = answersOf(answers);
  // FAILED and RELEASED: the task that held and released the seats was done anew
  const isHeldInTheEnd = reserved?.status === 'HELD' ? ending !== 'REFUSED' : ending === 'CONFIRMED';
  if (reserved && isHeldInTheEnd !== (reserved.status === 'HELD'))
    wrong.push(`its hold was answered ${reserved.status}`);
  if (ending === 'RELEASED' && !mayBeReleased) wrong.push('nobody asked for its release');
  if (reserved?.status === 'REFUSED') {
    const others = ends.filter((end) => end.reservation_id !== reservation_id).flatMap((end) => end.seat_ids);
    const conflicts = 'conflicts' in reserved ? reserved.conflicts : [];
    if (conflicts.length === 0) wrong.push('refused without a reason');
    if (!conflicts.every((it) => seat_ids.includes(it) && others.includes(it)))
      wrong.push(`no conflict: ${conflicts.join()}`);
  }
  return wrong;
}

/** What a refusal says of the end; others are about the moment. */
const ENDINGS_TOLD: Record<string, Ending[]> = {
  ALREADY_CONFIRMED: ['CONFIRMED'],
  RESERVATION_RELEASED: ['RELEASED', 'EXPIRED'], // whichever came first in PostgreSQL
  RESERVATION_EXPIRED: ['EXPIRED', 'CONFIRMED'], // by a payment that came later still, and whose seats were free
};

const untrue = <T>(answer: Answer<T>, ending: Ending): string[] => {
  if (answer === 'LOST') return ['what was accepted was never answered'];
  if (typeof answer !== 'object' || !('refused' in answer)) return [];
  const told = ENDINGS_TOLD[answer.refused];
  return told && !told.includes(ending) ? [`was told ${answer.refused}`] : [];
};

async function wrongPayments({ ending, payments }: End, { bookings, charges }: Seen): Promise<string[]> {
  const wrong: string[] = [];
  for (const calls of payments.values()) {
    const answers = await Promise.all(calls);
    wrong.push(...answers.flatMap((answer) => untrue(answer, ending)));
    if (!isSame(answersOf(answers))) wrong.push('a payment was answered in two ways');
    const [outcome] = answersOf(answers);
    if (!outcome || outcome.status === 'TOO_LATE') continue;
    const booking = bookings.find(({ booking_id }) => booking_id === outcome.booking_id);
    const failure = outcome.status === 'FAILED' ? outcome.failure.code : null;
    if (booking?.status !== outcome.status || booking.failure_code !== failure)
      wrong.push(`was told of a booking ${JSON.stringify(outcome)}`);
    if (outcome.status !== 'CONFIRMED') continue;
    const charge = charges.find(({ charge_id }) => charge_id === outcome.charge_id);
    if (ending !== 'CONFIRMED' || charge?.status !== 'CAPTURED') wrong.push(`was told ${JSON.stringify(outcome)}`);
  }
  return wrong;
}

function wrongReleases({ ending }: End, answers: Answer<Ending>[]): string[] {
  return [
    ...answers.flatMap((answer) => untrue(answer, ending)),
    ...answersOf(answers).flatMap((told) =>
      told === ending || (told === 'EXPIRED' && ending === 'CONFIRMED') ? [] : [`its release was answered ${told}`],
    ),
  ];
}

const UNDO_OF: Record<string, string> = {
  holdSeats: 'releaseSeats',
  authorisePayment: 'cancelPayment',
  verifyCharge: 'giveBackPayment',
  bookSeats: 'unbookSeats',
};
const UNDOS = Object.values(UNDO_OF);

/** Undone in reverse, each step once; money is taken for booked seats only. */
function wrongOrder({ steps }: End): string[] {
  const done: string[] = [];
  const order = steps.map(({ activity }) => activity);
  for (const step of order) {
    const last = done.at(-1);
    if (step in UNDO_OF) done.push(step);
    else if (UNDOS.includes(step)) {
      const isLateCharge = step === 'giveBackPayment' && !done.includes('verifyCharge');
      if (last !== undefined && UNDO_OF[last] === step) done.pop();
      else if (!isLateCharge) return [`${step} out of turn: ${order.join(', ')}`];
    } else if (step === 'capturePayment' && last !== 'bookSeats') {
      return [`took money for seats that are not booked: ${order.join(', ')}`];
    } else if (step === 'confirmBooking') done.length = 0;
  }
  return done.length === 0 ? [] : [`never undone: ${done.join()}`];
}

function wrongSeats(ends: End[], { seats, locks, marked }: Seen): string[] {
  const confirmed = ends.filter(({ ending }) => ending === 'CONFIRMED');
  const booked = confirmed.flatMap(({ seat_ids, reservation_id }) =>
    seat_ids.map((seat) => `${seat} ${reservation_id}`),
  );
  const taken = seats.filter(({ status }) => status !== 'AVAILABLE');
  const owned = taken.map(
    ({ seat_id, reservation_id, status }) => `${seat_id} ${reservation_id}${status === 'BOOKED' ? '' : ` ${status}`}`,
  );
  const isSameSet = (some: string[], others: string[]) => some.toSorted().join() === others.toSorted().join();
  const sold = taken.map(({ seat_id }) => seat_id);
  return [
    ...(isSameSet(owned, booked) ? [] : [`seats ${owned.join()}, where confirmed are ${booked.join()}`]),
    ...(locks.every((owner) => owner === null) ? [] : [`locks were left: ${locks.join()}`]),
    ...(isSameSet(marked, sold) ? [] : [`sold in Redis: ${marked.join()}`]),
  ];
}

const LEGAL = [
  'AVAILABLE HELD',
  'HELD BOOKED',
  'BOOKED HELD',
  'HELD AVAILABLE',
  'HELD CONFIRMED',
  'HELD RELEASED',
  'HELD EXPIRED',
  'HELD REFUSED',
  'EXPIRED HELD',
];

/** Every step from one status to the next, as PostgreSQL saw it. */
function wrongChanges(changes: Change[]): string[] {
  return changes.flatMap((change) => {
    const { of, old_status, new_status, old_owner, new_owner, old_fence, new_fence } = change;
    const isRepeat = old_status === new_status && old_owner === new_owner && old_fence === new_fence;
    const isFreedOrHeld = new_status === 'AVAILABLE' || new_status === 'HELD'; // what was on its way before is late now
    const isOwned = new_owner === old_owner || old_status === 'AVAILABLE' || new_status === 'AVAILABLE';
    const isFenced = isFreedOrHeld ? BigInt(new_fence) > BigInt(old_fence) : new_fence === old_fence;
    const isLegal = isRepeat || (LEGAL.includes(`${old_status} ${new_status}`) && isOwned && isFenced);
    return isLegal
      ? []
      : [`${of} went from ${old_status} (${old_owner}, ${old_fence}) to ${new_status} (${new_owner}, ${new_fence})`];
  });
}
