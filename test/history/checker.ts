/**
 * Judges a history (see `history.ts`): whether every answer can be true of seats that are locks with one owner each.
 *
 * A seat is a register whose writers are known: each reservation acquires its seats once and frees them once. For such
 * a register linearisability (Herlihy and Wing 1990) needs no search: Gibbons and Korach, "Testing Shared Memories",
 * SIAM Journal on Computing 26 (4), 1997, section 4, where the read mapping is known. A reservation acquired its seats
 * somewhere in [acquiredFrom, acquiredBy] and ended somewhere in [endedFrom, endedBy], so it owned them at least
 * throughout its _core_ [acquiredBy, endedFrom), and at most throughout its _extent_ [acquiredFrom, endedBy].
 *
 * - One owner: no two cores of a seat overlap; and a reservation without a core (acquired and ended while nobody looked)
 *   finds an instant at which no core has any of its seats. Then every reservation shrunk to its core, or to that
 *   instant, is an order of all that is true of all seats together: a hold of several seats is one step.
 * - A refusal names seats that another owns at an instant within the call: each is in some extent. That is lenient, as
 *   are the allowances for locks that outlive their reservation, or were of a hold that PostgreSQL refused in the end: a
 *   refusal for nothing may go unnoticed, and an alarm is not false.
 *
 * A reservation whose payment was under way at its deadline, or was made on the gateway's own page, may expire and be
 * rescued by it: such a one is two tenancies, and what becomes of its seats in between is not known.
 *
 * Then what each client was told of a reservation is compared with what became of it, and with the money.
 */
import type { Booking } from '../../domain/model.ts';
import type {
  Call,
  FinalReservation,
  FinalState,
  History,
  Hold,
  Outcome,
  Pay,
  Read,
  ReadBooking,
  ReadMap,
  Release,
} from './history.ts';

export type Rule =
  | 'one owner'
  | 'granted in full'
  | 'acknowledged is kept'
  | 'refused is not held'
  | 'refused for a reason'
  | 'no early expiry'
  | 'no late expiry'
  | 'one ending'
  | 'ended as told'
  | 'repeat answered alike'
  | 'money is booked'
  | 'seats as sold'
  | 'map as it was';

export interface Violation {
  rule: Rule;
  detail: string;
}

/** What the product is allowed, in milliseconds. */
export interface Allowances {
  /** Between the clients' clock and PostgreSQL's. */
  clock_error_ms: number;
  /** From the deadline of a hold, or the end of its last payment, to its seats being free. */
  expiry_late_ms: number;
  /** From a release that was answered `ok` to the last refusal because of it: for as long as Redis may be away. */
  release_lag_ms: number;
  /** The same from an ending that was seen: PostgreSQL shows it before the lock in Redis goes. */
  refusal_lag_ms: number;
  /** A seat map may be this old. */
  map_lag_ms: number;
}

const ALLOWANCES: Allowances = {
  clock_error_ms: 50,
  expiry_late_ms: 5_000,
  release_lag_ms: 0,
  refusal_lag_ms: 2_000,
  map_lag_ms: 7_500, // 5 s in the cache, which began after a statement of up to 2 s and a command of 250 ms
};

const NEVER = Number.POSITIVE_INFINITY;

/** A reservation that was granted, with when it can have been. */
interface Tenancy extends FinalReservation {
  calls: CallsOfReservation;
  acquiredFrom: number;
  acquiredBy: number;
  endedFrom: number;
  endedBy: number;
  /** Its locks may outlive it until then. */
  refusesUntil: number;
}

interface CallsOfReservation {
  holds: Hold[];
  pays: Pay[];
  releases: Release[];
  reads: Read[];
  bookings: ReadBooking[];
}

/** @returns every rule that the history breaks, with its evidence; nothing where it can be true */
export function checkHistory(
  { calls, final, terminated = new Set() }: History,
  allowances: Partial<Allowances> = {},
): Violation[] {
  const allowed = { ...ALLOWANCES, ...allowances };
  const violations: Violation[] = [];
  const report: Report = (rule, detail) => violations.push({ rule, detail });
  const of = groupCalls(calls);
  const tenancies = final.reservations.map((row) => tenancyOf(row, of, allowed));
  const stretches = tenancies.flatMap((tenancy) => stretchesOf(tenancy, allowed));
  const bySeat = group(
    stretches.flatMap((tenancy) => tenancy.seat_ids.map((seat) => ({ seat, tenancy }))),
    ({ seat }) => seat,
    ({ tenancy }) => tenancy,
  );

  checkOwners(stretches, bySeat, report);
  checkHolds(of, tenancies, terminated, report);
  checkRefusals(of, final, bySeat, allowed, report);
  for (const tenancy of tenancies) {
    checkTimes(tenancy, allowed, report);
    checkEnding(tenancy, report);
    checkMoney(tenancy, final, report);
  }
  checkSeats(final, tenancies, report);
  checkMaps(of.maps, bySeat, allowed, report);
  return violations;
}

type Report = (rule: Rule, detail: string) => void;

type BySeat = Map<string, Tenancy[]>;

function group<T, V>(items: Iterable<T>, keyOf: (item: T) => string, valueOf: (item: T) => V): Map<string, V[]> {
  const groups = new Map<string, V[]>();
  for (const item of items) {
    const existing = groups.get(keyOf(item));
    if (existing) existing.push(valueOf(item));
    else groups.set(keyOf(item), [valueOf(item)]);
  }
  return groups;
}

interface Grouped {
  /** By user: a hold and its repeats. */
  holds: Map<string, Hold[]>;
  pays: Map<string, Pay[]>;
  releases: Map<string, Release[]>;
  reads: Map<string, Read[]>;
  bookings: Map<string, ReadBooking[]>;
  maps: ReadMap[];
}

function groupCalls(calls: Call[]): Grouped {
  const holds: Hold[] = [];
  const pays: Pay[] = [];
  const releases: Release[] = [];
  const reads: Read[] = [];
  const bookings: ReadBooking[] = [];
  const maps: ReadMap[] = [];
  for (const call of calls) {
    switch (call.name) {
      case 'hold':
        holds.push(call);
        break;
      case 'pay':
        pays.push(call);
        break;
      case 'release':
        releases.push(call);
        break;
      case 'read':
        reads.push(call);
        break;
      case 'booking':
        bookings.push(call);
        break;
      case 'map':
        maps.push(call);
        break;
    }
  }
  const byReservation = <C extends Pay | Release | Read | ReadBooking>(those: C[]) =>
    group(
      those,
      ({ reservation_id }) => reservation_id,
      (call) => call,
    );
  return {
    holds: group(
      holds,
      ({ user_id }) => user_id,
      (call) => call,
    ),
    pays: byReservation(pays),
    releases: byReservation(releases),
    reads: byReservation(reads),
    bookings: byReservation(bookings),
    maps,
  };
}

const first = (times: number[]) => Math.min(NEVER, ...times);
const last = (times: number[]) => Math.max(0, ...times);
const isOk = ({ outcome }: Call) => outcome.type === 'ok';
const answered = (call: Call) => call.answered;
const invoked = (call: Call) => call.invoked;

/** Reads that saw the reservation in one of these states. */
const sightings = ({ reads }: CallsOfReservation, ...states: FinalReservation['status'][]) =>
  reads.filter(({ outcome }) => outcome.type === 'ok' && states.includes(outcome.body.status));

const isConfirmed = ({ outcome }: Pay | ReadBooking) => outcome.type === 'ok' && outcome.body.status === 'CONFIRMED';

const confirmations = ({ pays, bookings }: CallsOfReservation) => [...pays, ...bookings].filter(isConfirmed);

const holdsThatGot = ({ holds }: CallsOfReservation, id: string) =>
  holds.filter(({ outcome }) => outcome.type === 'ok' && outcome.body.reservation_id === id);

/** When the reservation can have acquired and freed its seats, by everything that anybody was told of it. */
function tenancyOf(row: FinalReservation, of: Grouped, allowed: Allowances): Tenancy {
  const { reservation_id, user_id, status, expires_at } = row;
  const calls = {
    holds: of.holds.get(user_id) ?? [],
    pays: of.pays.get(reservation_id) ?? [],
    releases: of.releases.get(reservation_id) ?? [],
    reads: of.reads.get(reservation_id) ?? [],
    bookings: of.bookings.get(reservation_id) ?? [],
  };
  const { holds, pays, releases, reads } = calls;
  const acquiredFrom = first(holds.map(invoked));
  const acquiredBy = first(
    [...holdsThatGot(calls, reservation_id), ...[...reads, ...pays, ...releases].filter(isOk)].map(answered),
  );
  if (status === 'CONFIRMED' || status === 'HELD') {
    return { ...row, calls, acquiredFrom, acquiredBy, endedFrom: NEVER, endedBy: NEVER, refusesUntil: NEVER };
  }

  const mayEndFrom =
    status === 'EXPIRED'
      ? expires_at - allowed.clock_error_ms
      : first(releases.filter(({ outcome }) => outcome.type !== 'fail').map(invoked));
  const lastPaid = last(pays.filter(isTaken).map(answered));
  const released = first(releases.filter(isOk).map(answered));
  const isRescuable = mayBeRescued(calls, expires_at);
  const seenExpired = first(sightings(calls, 'EXPIRED').map(answered));
  const seenHeld = sightings(calls, 'HELD').filter((read) => !isRescuable || read.answered < seenExpired);
  const seenEnded = first(sightings(calls, 'RELEASED', ...(isRescuable ? [] : ['EXPIRED' as const])).map(answered));
  const overdue = Math.max(expires_at, lastPaid) + allowed.expiry_late_ms;
  return {
    ...row,
    calls,
    acquiredFrom,
    acquiredBy,
    // Where nobody asked for the release, the product gave up a hold that its client had given up on.
    endedFrom: Math.max(mayEndFrom === NEVER ? acquiredFrom : mayEndFrom, acquiredFrom, last(seenHeld.map(invoked))),
    endedBy: Math.min(released, seenEnded, overdue),
    refusesUntil: Math.min(released + allowed.release_lag_ms, seenEnded + allowed.refusal_lag_ms, overdue),
  };
}

/** The product took the payment on, or may have. */
const isTaken = ({ outcome }: Pay) => outcome.type !== 'fail' || outcome.code === 'PAYMENT_DECLINED';

/** Until when a payment may be under way: where it was only ordered, for as long as it likes. */
const underWayUntil = ({ outcome, answered: by }: Pay) =>
  outcome.type === 'ok' && outcome.body.status === 'PENDING' ? NEVER : by;

/** Whether what was EXPIRED may be HELD again: by a payment that was under way, or was not refused, after the deadline. */
const mayBeRescued = ({ pays }: CallsOfReservation, expires_at: number) =>
  pays.some((pay) => isTaken(pay) && underWayUntil(pay) > expires_at);

/** The tenancy itself; or, where it may have been rescued, up to its deadline, and from when it was seen CONFIRMED. */
function stretchesOf(tenancy: Tenancy, { clock_error_ms }: Allowances): Tenancy[] {
  const { status, calls, expires_at } = tenancy;
  const confirmed = first([...sightings(calls, 'CONFIRMED'), ...confirmations(calls)].map(answered));
  if (status !== 'CONFIRMED' || !mayBeRescued(calls, expires_at) || confirmed < expires_at) return [tenancy];
  return [
    { ...tenancy, endedFrom: expires_at - clock_error_ms },
    { ...tenancy, acquiredBy: confirmed },
  ];
}

const hasCore = ({ acquiredBy, endedFrom }: Tenancy) => acquiredBy < endedFrom;

function checkOwners(stretches: Tenancy[], bySeat: BySeat, report: Report): void {
  for (const [seat, those] of bySeat) {
    let latest: Tenancy | undefined;
    for (const tenancy of those.filter(hasCore).sort((a, b) => a.acquiredBy - b.acquiredBy)) {
      if (latest && tenancy.acquiredBy < latest.endedFrom) {
        report('one owner', `${seat}: ${describe(latest)} and ${describe(tenancy)}`);
      }
      if (!latest || tenancy.endedFrom > latest.endedFrom) latest = tenancy;
    }
  }
  for (const tenancy of stretches.filter((it) => !hasCore(it))) {
    const cores = tenancy.seat_ids
      .flatMap((seat) => bySeat.get(seat) ?? [])
      .filter(hasCore)
      .sort((a, b) => a.acquiredBy - b.acquiredBy);
    const from = Math.max(tenancy.acquiredFrom, tenancy.endedFrom);
    const free = cores.reduce((at, core) => (core.acquiredBy < at ? Math.max(at, core.endedFrom) : at), from);
    if (free > Math.min(tenancy.acquiredBy, tenancy.endedBy)) {
      report('one owner', `no instant is left for ${describe(tenancy)}`);
    }
  }
}

const describe = ({ reservation_id, status, acquiredFrom, acquiredBy, endedFrom, endedBy }: Tenancy) =>
  `${reservation_id} (${status}) acquired in [${acquiredFrom}, ${acquiredBy}], ended in [${endedFrom}, ${endedBy}]`;

const sameSeats = (one: string[], other: string[]) => one.join(' ') === other.join(' ');

/** What each hold and its repeats were told, beside what was granted. */
function checkHolds({ holds }: Grouped, tenancies: Tenancy[], terminated: ReadonlySet<string>, report: Report): void {
  const byUser = group(
    tenancies,
    ({ user_id }) => user_id,
    (tenancy) => tenancy,
  );
  for (const { reservation_id, user_id } of tenancies) {
    if (!holds.has(user_id)) report('refused is not held', `${reservation_id} was asked for by nobody`);
  }
  for (const [user, those] of holds) {
    const granted = byUser.get(user) ?? [];
    const verdicts = new Set<string>();
    for (const { outcome, seat_ids } of those) {
      if (outcome.type === 'unknown') continue;
      verdicts.add(outcome.type === 'ok' ? outcome.body.reservation_id : outcome.code);
      if (outcome.type === 'fail') continue;
      const { reservation_id } = outcome.body;
      const row = granted.find((it) => it.reservation_id === reservation_id);
      if (!row) report('acknowledged is kept', `${reservation_id} of ${user} was granted and is not there`);
      else if (!sameSeats(row.seat_ids, seat_ids) || !sameSeats(outcome.body.seat_ids, seat_ids)) {
        report(
          'granted in full',
          `${reservation_id} asked for ${seat_ids.join(' ')} and has ${row.seat_ids.join(' ')}`,
        );
      }
    }
    if (verdicts.size > 1) report('repeat answered alike', `${user} was answered ${[...verdicts].join(' and ')}`);
    if (those.some(isOk)) continue;
    const refusedBy = first(those.filter(({ outcome }) => outcome.type === 'fail').map(answered));
    const wasTriedBefore = those.some((call) => call.outcome.type === 'unknown' && call.invoked < refusedBy);
    for (const { reservation_id, endedFrom } of granted) {
      // What nobody was told of may have come and gone before its repeat was refused, or be nobody's any more.
      const isOver = endedFrom < refusedBy || terminated.has(reservation_id);
      const isHeldAllTheSame = refusedBy < NEVER && !(wasTriedBefore && isOver);
      if (isHeldAllTheSame) report('refused is not held', `${reservation_id} of ${user}`);
    }
  }
}

/**
 * A refusal names seats of those asked for, each owned by another at some instant of the call, or locked by a hold that
 * was refused in the end: from its call on, until shortly after PostgreSQL noted that.
 */
function checkRefusals(
  { holds }: Grouped,
  { refused }: FinalState,
  bySeat: BySeat,
  { refusal_lag_ms }: Allowances,
  report: Report,
): void {
  const locks = refused.map(({ refused_at, ...hold }) => ({
    ...hold,
    from: first((holds.get(hold.user_id) ?? []).map(invoked)),
    until: refused_at + refusal_lag_ms,
  }));
  for (const those of holds.values()) {
    // A repeat is answered what the first call was, so any instant since then will do.
    const from = first(those.map(invoked));
    for (const { outcome, user_id, seat_ids, answered: by } of those) {
      if (outcome.type !== 'fail' || outcome.code !== 'SEATS_UNAVAILABLE') continue;
      if (outcome.conflicts.length === 0 || outcome.conflicts.some((seat) => !seat_ids.includes(seat))) {
        report(
          'refused for a reason',
          `${user_id} asked for ${seat_ids.join(' ')}, but ${outcome.conflicts.join(' ')}`,
        );
      }
      for (const seat of outcome.conflicts) {
        const owners = bySeat.get(seat) ?? [];
        const isOwned = owners.some((it) => it.user_id !== user_id && it.acquiredFrom <= by && it.refusesUntil >= from);
        const mayBeLocked = locks.some(
          (it) => it.user_id !== user_id && it.seat_ids.includes(seat) && it.from <= by && it.until >= from,
        );
        if (!isOwned && !mayBeLocked)
          report('refused for a reason', `${user_id} in [${from}, ${by}]: nobody had ${seat}`);
      }
    }
  }
}

/** PostgreSQL's word on when it began and was to end, beside the clients' clock. */
function checkTimes(tenancy: Tenancy, { clock_error_ms }: Allowances, report: Report): void {
  const { reservation_id, calls, acquiredFrom, acquiredBy, created_at, expires_at, status } = tenancy;
  if (created_at < acquiredFrom - clock_error_ms || created_at > acquiredBy + clock_error_ms) {
    report('acknowledged is kept', `${describe(tenancy)} was made at ${created_at}`);
  }
  for (const { outcome } of holdsThatGot(calls, reservation_id)) {
    if (outcome.type === 'ok' && Math.abs(Date.parse(outcome.body.expires_at) - expires_at) > 1) {
      report('acknowledged is kept', `${reservation_id} was to expire at ${outcome.body.expires_at}`);
    }
  }
  const seen = first(sightings(calls, 'EXPIRED').map(answered));
  if (seen < expires_at - clock_error_ms) {
    report('no early expiry', `${reservation_id} was seen expired at ${seen}, before ${expires_at}`);
  }
  if (tenancy.endedFrom > tenancy.endedBy) report('no late expiry', describe(tenancy));
  if (status === 'HELD') report('no late expiry', `${reservation_id} is held at the end of the history`);
}

/** What a refusal says of the ending; a reservation that is to be released may have run out by then. */
const ENDINGS_BY_REFUSAL: Record<string, FinalReservation['status'][]> = {
  ALREADY_CONFIRMED: ['CONFIRMED'],
  RESERVATION_EXPIRED: ['EXPIRED'],
  RESERVATION_RELEASED: ['RELEASED', 'EXPIRED'],
};

/** Which endings an answer leaves open; undefined where it says nothing of it. */
function endingsToldBy(call: Pay | Release | Read | ReadBooking): FinalReservation['status'][] | undefined {
  if (call.outcome.type === 'unknown') return undefined;
  if (call.outcome.type === 'fail') return ENDINGS_BY_REFUSAL[call.outcome.code];
  if (call.name === 'pay' || call.name === 'booking') return isConfirmed(call) ? ['CONFIRMED'] : undefined;
  return call.outcome.body.status === 'HELD' ? undefined : [call.outcome.body.status];
}

const NOT_FOUND = ['RESERVATION_NOT_FOUND', 'BOOKING_NOT_FOUND'];

/** A reservation ends once, and as everybody was told. */
function checkEnding({ reservation_id, status, calls, acquiredBy, expires_at }: Tenancy, report: Report): void {
  for (const call of [...calls.reads, ...calls.bookings, ...calls.pays, ...calls.releases]) {
    const { outcome } = call;
    if (outcome.type === 'fail' && NOT_FOUND.includes(outcome.code) && call.invoked > acquiredBy) {
      report('acknowledged is kept', `${reservation_id} was not found by a ${call.name} at ${call.invoked}`);
    }
    const endings = endingsToldBy(call);
    const isBeforeRescue =
      endings?.includes('EXPIRED') &&
      call.answered > expires_at &&
      calls.pays.some((pay) => pay !== call && isTaken(pay) && underWayUntil(pay) > call.invoked);
    if (endings && !endings.includes(status) && !isBeforeRescue) {
      report(
        'ended as told',
        `${reservation_id} is ${status}; a ${call.name} at ${call.answered} said ${endings.join()}`,
      );
    }
  }
  const seenHeld = last(sightings(calls, 'HELD').map(invoked));
  const seenEnded = [
    ...sightings(calls, 'CONFIRMED', 'RELEASED'),
    ...(mayBeRescued(calls, expires_at) ? [] : sightings(calls, 'EXPIRED')),
    ...calls.releases.filter(isOk),
    ...confirmations(calls),
  ];
  if (first(seenEnded.map(answered)) < seenHeld) {
    report(
      'one ending',
      `${reservation_id} had ended by ${first(seenEnded.map(answered))}, and was held at ${seenHeld}`,
    );
  }
  const isAskedFor = calls.releases.some(({ outcome }) => outcome.type !== 'fail');
  if (status === 'RELEASED' && !isAskedFor && holdsThatGot(calls, reservation_id).length > 0) {
    report('one ending', `${reservation_id} was released, which nobody asked for`);
  }
}

const DECLINED = 'tok_declined';

/** Charged once where it is confirmed, by a payment that was not refused; else not at all, or paid back. */
function checkMoney({ reservation_id, status, price, calls }: Tenancy, final: FinalState, report: Report): void {
  const bookings = final.bookings.filter((it) => it.reservation_id === reservation_id);
  const charges = final.charges.filter((it) => it.reservation_id === reservation_id);
  const confirmed = bookings.filter((it) => it.status === 'CONFIRMED');
  const captured = charges.filter((it) => it.status === 'CAPTURED').map(({ amount }) => amount);
  const wrong = (what: string) => report('money is booked', `${reservation_id} (${status}) ${what}`);

  if (captured.join() !== (status === 'CONFIRMED' ? String(price) : '')) wrong(`was charged ${captured.join(' and ')}`);
  if (charges.some((it) => it.status === 'AUTHORIZED')) wrong('still has money reserved');
  if (confirmed.length !== (status === 'CONFIRMED' ? 1 : 0)) wrong(`has ${confirmed.length} confirmed bookings`);
  if (bookings.some((it) => it.status === 'PENDING')) wrong('has a booking that is pending for ever');
  const mayHavePaid = ({ outcome, payment_token }: Pay) => outcome.type !== 'fail' && payment_token !== DECLINED;
  if (status === 'CONFIRMED' && !calls.pays.some(mayHavePaid)) wrong('was paid for by nobody who was not refused');

  for (const call of [...calls.pays, ...calls.bookings]) {
    const told = bookingsToldBy(call.outcome);
    if (!told) continue;
    const booking = bookings.find(({ booking_id }) => booking_id === told.booking_id)?.status ?? 'lost';
    if (!told.statuses.includes(booking)) {
      wrong(
        `has a booking ${told.booking_id} that is ${booking}; a ${call.name} at ${call.answered} said ${told.statuses.join()}`,
      );
    }
  }
}

/** What a booking can have become after the answer to its payment, or to who asked for it. */
function bookingsToldBy(outcome: Outcome<Booking>): { booking_id: string; statuses: string[] } | undefined {
  if (outcome.type === 'unknown' || outcome.type === 'fail') {
    const booking_id = outcome.type === 'fail' ? outcome.booking_id : undefined;
    return booking_id === undefined ? undefined : { booking_id, statuses: ['FAILED'] };
  }
  const { booking_id, status } = outcome.body;
  return { booking_id, statuses: status === 'PENDING' ? ['CONFIRMED', 'FAILED'] : [status] };
}

/** In the end every seat of a confirmed reservation is booked by it, and every other seat is free. */
function checkSeats({ seats }: FinalState, tenancies: Tenancy[], report: Report): void {
  const owner = new Map<string, string>();
  for (const { status, seat_ids, reservation_id } of tenancies) {
    if (status === 'CONFIRMED') for (const seat of seat_ids) owner.set(seat, reservation_id);
  }
  for (const { seat_id, status, reservation_id } of seats) {
    const wanted = owner.get(seat_id) ?? null;
    if (reservation_id !== wanted || status !== (wanted === null ? 'AVAILABLE' : 'BOOKED')) {
      report('seats as sold', `${seat_id} is ${status} by ${reservation_id}, and should be by ${wanted}`);
    }
  }
}

/** What a map showed of a seat was so at some instant of the call, or shortly before. */
function checkMaps(maps: ReadMap[], bySeat: BySeat, { map_lag_ms }: Allowances, report: Report): void {
  for (const { outcome, invoked: at, answered: by } of maps) {
    if (outcome.type !== 'ok') continue;
    const from = at - map_lag_ms;
    for (const { seat_id, status } of outcome.body) {
      const owners = bySeat.get(seat_id) ?? [];
      const hadOwner = owners.some((it) => it.acquiredFrom <= by && it.endedBy >= from);
      const wasPaidFor = owners.some(({ calls }) => first(calls.pays.map(invoked)) <= by);
      const wasFree = !owners.some((it) => it.acquiredBy < from && it.endedFrom > by);
      const isSold = owners.some(({ calls }) => first(calls.pays.filter(isConfirmed).map(answered)) < from);
      const couldBe = {
        AVAILABLE: wasFree,
        HELD: hadOwner && !isSold,
        BOOKED: hadOwner && wasPaidFor,
      };
      if (!couldBe[status]) report('map as it was', `${seat_id} was shown ${status} in [${from}, ${by}]`);
    }
  }
}
