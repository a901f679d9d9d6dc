/** How many seats of an event one user may have: PostgreSQL counts, whatever comes at once. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBookings } from '../../activities/bookings.ts';
import { createSeatHolds, type HoldRequest } from '../../activities/seat-holds.ts';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { NO_FAULTS, findFaults } from '../../audit/sweep.ts';
import { addEvent } from '../support/house.ts';
import { log, openStores, type Stores } from '../support/stores.ts';
import { until } from '../support/until.ts';

const LIMIT = 4;

let stores: Stores;
let holds: ReturnType<typeof createSeatHolds>;
let bookings: ReturnType<typeof createBookings>;
beforeAll(async () => {
  stores = await openStores();
  holds = createSeatHolds(stores.database, createSeatLocks(stores.redis, log));
  bookings = createBookings(stores.database);
});
afterAll(() => stores.close());

async function addLimitedEvent(seats: number) {
  const event = await addEvent(stores.database, seats);
  await stores.database.query('UPDATE events SET seats_per_user = $2 WHERE event_id = $1', [event.event_id, LIMIT]);
  return event;
}

let reservations = 0;
const request = (event_id: string, seat_ids: string[], change: Partial<HoldRequest> = {}): HoldRequest => ({
  reservation_id: `res_limit_${++reservations}`,
  event_id,
  seat_ids,
  user_id: 'ann',
  hold_seconds: 600,
  rescue: false,
  ...change,
});

async function seatsOf(event_id: string, user_id: string): Promise<number> {
  const { rows } = await stores.database.query<{ seats: number }>(
    `SELECT count(*)::int AS seats FROM seats JOIN reservations USING (reservation_id)
     WHERE seats.event_id = $1 AND user_id = $2`,
    [event_id, user_id],
  );
  return rows[0]?.seats ?? 0;
}

const reached = (held: number) => ({ seat_limit: { limit: LIMIT, held } });

test.each([1, 2, 3])(
  'of 50 requests for %i seats that one user sends at once, as many are held as the limit lets',
  async (each) => {
    const { event_id, seat_ids } = await addLimitedEvent(50 * each);
    const asked = Array.from({ length: 50 }, (_, n) => request(event_id, seat_ids.slice(n * each, (n + 1) * each)));
    const results = await Promise.all(asked.map((it) => holds.holdSeats(it)));
    const most = Math.floor(LIMIT / each);
    expect(results.filter((result) => 'hold' in result)).toHaveLength(most);
    expect(results.filter((result) => 'seat_limit' in result)).toHaveLength(50 - most);
    expect(await seatsOf(event_id, 'ann')).toBe(most * each);
    expect(await findFaults(stores)).toEqual(NO_FAULTS);
  },
);

test('requests that have all been let through to the last step at once are still counted one by one', async () => {
  const { event_id, seat_ids } = await addLimitedEvent(10);
  const rivals = seat_ids.map((seatId) => request(event_id, [seatId]));
  const inTheWay = await stores.database.connect();
  await inTheWay.query('BEGIN');
  await inTheWay.query(
    `INSERT INTO reservations (reservation_id, event_id, user_id, seat_ids, price, currency, status, fence, created_at, expires_at)
     SELECT id, '', '', '{}', 0, 'XXX', 'REFUSED', 0, now(), now() FROM unnest($1::varchar[]) AS id`,
    [rivals.map(({ reservation_id }) => reservation_id)],
  );
  const results = rivals.map((rival) => holds.holdSeats(rival));
  await until('all rivals wait', async () => {
    const { rowCount } = await stores.database.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rowCount === rivals.length;
  });
  await inTheWay.query('ROLLBACK');
  inTheWay.release();
  expect((await Promise.all(results)).filter((result) => 'hold' in result)).toHaveLength(LIMIT);
});

test('a repeat of a hold is answered with it, and its seats count once', async () => {
  const { event_id, seat_ids } = await addLimitedEvent(LIMIT + 1);
  const whole = request(event_id, seat_ids.slice(0, LIMIT));
  const first = await holds.holdSeats(whole);
  expect(await holds.holdSeats(whole)).toMatchObject({ hold: { fence: 'hold' in first && first.hold.fence } });
  expect(await holds.holdSeats(request(event_id, seat_ids.slice(LIMIT)))).toEqual(reached(LIMIT));
});

test('booked seats count, and what is given back or has expired does not', async () => {
  const { event_id, seat_ids } = await addLimitedEvent(12);
  const [booked, released, expired] = [0, 1, 2].map((n) =>
    request(event_id, seat_ids.slice(n, n + 1), n === 2 ? { hold_seconds: 0 } : {}),
  );
  if (!booked || !released || !expired) throw new TypeError('three requests were made');
  const held = await holds.holdSeats(booked);
  if (!('hold' in held)) throw new TypeError('the first seat is free');
  await bookings.openBooking({ booking_id: 'bkg_limit', reservation_id: booked.reservation_id });
  await holds.bookSeats({ ...booked, fence: held.hold.fence });
  await bookings.confirmBooking({
    booking_id: 'bkg_limit',
    charge_id: 'ch_limit',
    reservation_id: booked.reservation_id,
  });
  await holds.holdSeats(released);
  await holds.holdSeats(expired);

  const more = seat_ids.slice(3, 6);
  expect(await holds.holdSeats(request(event_id, more))).toEqual(reached(3));
  await holds.releaseSeats({ ...released, fence: undefined, ending: 'RELEASED' });
  expect(await holds.holdSeats(request(event_id, more))).toEqual(reached(2));
  await holds.releaseSeats({ ...expired, fence: undefined, ending: 'EXPIRED' });
  expect(await holds.holdSeats(request(event_id, more))).toMatchObject({ hold: { price: 7_500 } });
  expect(await holds.holdSeats(request(event_id, seat_ids.slice(6, 7)))).toEqual(reached(LIMIT));
});

test('a late payment gets its seats only within the limit', async () => {
  const { event_id, seat_ids } = await addLimitedEvent(LIMIT + 1);
  const late = request(event_id, seat_ids.slice(0, 1), { hold_seconds: 0 });
  await holds.holdSeats(late);
  await holds.releaseSeats({ ...late, fence: undefined, ending: 'EXPIRED' });
  const others = request(event_id, seat_ids.slice(1));
  await holds.holdSeats(others);
  expect(await holds.holdSeats({ ...late, rescue: true })).toEqual(reached(LIMIT));
  await holds.releaseSeats({ ...others, fence: undefined, ending: 'RELEASED' });
  expect(await holds.holdSeats({ ...late, rescue: true })).toMatchObject({ hold: { fence: '3' } });
});

test('seats that others have are named first; a lock is not kept for what is over the limit', async () => {
  const { event_id, seat_ids } = await addLimitedEvent(LIMIT + 2);
  await holds.holdSeats(request(event_id, seat_ids.slice(0, 1), { user_id: 'bob' }));
  await holds.holdSeats(request(event_id, seat_ids.slice(1, 1 + LIMIT)));
  const [taken, free] = [seat_ids.slice(0, 1), seat_ids.slice(-1)];
  expect(await holds.holdSeats(request(event_id, taken))).toEqual({ conflicts: taken });
  expect(await holds.holdSeats(request(event_id, free))).toEqual(reached(LIMIT));
  expect(await holds.holdSeats(request(event_id, free, { user_id: 'bob' }))).toHaveProperty('hold');
});

test('an event without a limit has none', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 30);
  for (const n of [0, 10, 20]) {
    expect(await holds.holdSeats(request(event_id, seat_ids.slice(n, n + 10)))).toHaveProperty('hold');
  }
});
