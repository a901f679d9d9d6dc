/** The HTTP table of the contract, row by row. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Booking, Event, Reservation, Seat } from '../../domain/model.ts';
import { HoldOutcomes } from '../../api/hold-outcomes.ts';
import { createReservationWorkflows } from '../../api/reservation-workflows.ts';
import { seatLock } from '../../domain/redis-keys.ts';
import { buyerAt, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { SEAT_PRICE, addEvent, addSeats, addTwoShows } from '../support/house.ts';
import { NO_FAULTS, findFaults } from '../../audit/sweep.ts';
import { exchange } from '../support/raw-http.ts';
import { startApi, startSystem } from '../support/system.ts';
import { until } from '../support/until.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
/** The same box office with holds of one second. */
let hasty: Awaited<ReturnType<typeof startApi>>;
let buyer: ReturnType<typeof buyerAt>;
let hastyBuyer: ReturnType<typeof buyerAt>;
/** Seats that no other test takes. */
let house: { event_id: string; seat_ids: string[] };
beforeAll(async () => {
  system = await startSystem();
  hasty = await startApi(system.stores, 1);
  buyer = buyerAt(system.url);
  hastyBuyer = buyerAt(hasty.url);
  house = await addEvent(system.stores.database, 200);
});
afterAll(async () => {
  await hasty.stop();
  await system.stop();
});

const takeSeats = (count: number) => house.seat_ids.splice(0, count);
const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

async function hold(seats = 1, from = buyer): Promise<Reservation> {
  const { status, body } = await from.hold(house.event_id, takeSeats(seats));
  expect(status).toBe(201);
  return body;
}

/** A reservation that has ended so, and the booking if there is one. */
const ended: Record<
  Exclude<Reservation['status'], 'HELD'>,
  () => Promise<{ reservation_id: string; booking?: Booking }>
> = {
  async CONFIRMED() {
    const { reservation_id } = await hold();
    const { body: booking } = await buyer.payAndWait(reservation_id, 'tok_visa');
    return { reservation_id, booking };
  },
  async RELEASED() {
    const { reservation_id } = await hold();
    await buyer.release(reservation_id);
    return { reservation_id };
  },
  async EXPIRED() {
    const { reservation_id } = await hold(1, hastyBuyer);
    await reservationBecomes(reservation_id, 'EXPIRED');
    return { reservation_id };
  },
};

const reservationBecomes = (id: string, status: Reservation['status']) =>
  until(`${id} is ${status}`, async () => {
    const { body } = await buyer.reservation(id);
    return body.status === status && body;
  });

const bookingBecomes = (id: string, status: Booking['status']) =>
  until(`${id} is ${status}`, async () => {
    const { body } = await buyer.booking(id);
    return body.status === status && body;
  });

describe('GET /events', () => {
  interface Page {
    events: Event[];
    next_cursor: string | null;
  }
  const list = (query: string) => buyer.call<Page & ProblemBody>('GET', `/events?${query}`);
  const names = ({ body }: Reply<Page>) => body.events.map(({ name }) => name);

  beforeAll(async () => {
    await system.stores.database.query(
      `INSERT INTO events (event_id, name, date, venue) VALUES
         ('l-4', 'Fourth', '2031-01-02T00:00:00.000001Z', ''), ('l-3', 'Third', '2031-01-02', 'Odeon 100%_'),
         ('l-1', 'First', '2031-01-01', 'Olympia'), ('l-2', 'Second', '2031-01-01', 'Ödeon'),
         ('l-5', 'Fifth', '2031-01-02T00:00:00.000002Z', 'Olympia')`,
    );
  });

  test.each([
    ['by date', 'from=2031-01-01', ['First', 'Second', 'Third', 'Fourth', 'Fifth']],
    ['from a time on, inclusive', 'from=2031-01-02T00:00:00Z', ['Third', 'Fourth', 'Fifth']],
    ['up to a time, inclusive', 'from=2031-01-01&to=2031-01-01T00:00:00Z', ['First', 'Second']],
    ['from a time in another zone', 'from=2031-01-02T01:00:00%2B01:00', ['Third', 'Fourth', 'Fifth']],
    ['by part of a name, in any case', 'q=FIRS', ['First']],
    ['by part of a venue', 'q=olymp', ['First', 'Fifth']],
    ['with wildcards taken literally', `q=${encodeURIComponent('100%_')}`, ['Third']],
    ['none where from is after to', 'from=2032-01-01&to=2031-01-01', []],
    ['none where nothing matches', `q=${encodeURIComponent("' OR 1=1 --")}`, []],
  ])('lists events %s', async (_, query, wanted) => {
    const page = await list(query);
    expect(page.status).toBe(200);
    expect(names(page)).toEqual(wanted);
    expect(page.body.next_cursor).toBeNull();
  });

  test.each([1, 2, 3, 5])('pages of %i lead through all events, each once', async (limit) => {
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Reply<Page> = await list(`from=2031-01-01&limit=${limit}${cursor && `&cursor=${cursor}`}`);
      seen.push(...names(page));
      expect(page.body.events.length).toBeLessThanOrEqual(limit);
      expect(seen.length).toBeLessThanOrEqual(5);
      cursor = page.body.next_cursor;
    }
    expect(seen).toEqual(['First', 'Second', 'Third', 'Fourth', 'Fifth']);
  });

  test('an event tells what it is, where, when and at what size', async () => {
    const { status, body } = await buyer.call<Event>('GET', '/events/demo-theatre');
    expect(status).toBe(200);
    expect(body).toEqual({
      event_id: 'demo-theatre',
      name: 'The Tempest',
      venue: 'Harbour Theatre',
      date: expect.stringMatching(UTC),
      show_times: [body.date],
      currency: 'EUR',
      seats_total: 1_200,
    });
  });

  test('an event and seats given by no more than the columns of the contract can be sold', async () => {
    const { database } = system.stores;
    await database.query(`INSERT INTO events (event_id, name, date) VALUES ('bare', 'Bare', now())`);
    await database.query(
      `INSERT INTO seats (seat_id, event_id, "row", number, status) VALUES ('bare-1', 'bare', 'A', 1, 'AVAILABLE')`,
    );
    expect((await buyer.call<Event>('GET', '/events/bare')).body).toMatchObject({ name: 'Bare', seats_total: 1 });
    expect((await buyer.call<Seat[]>('GET', '/events/bare/seats')).body).toMatchObject([
      { seat_id: 'bare-1', row: 'A', number: 1, status: 'AVAILABLE', price: { amount: 0, currency: 'EUR' } },
    ]);
    const held = await buyer.hold('bare', ['bare-1']);
    expect((await buyer.payAndWait(held.body.reservation_id, 'tok_visa')).body).toMatchObject({ status: 'CONFIRMED' });
  });

  test.each(['/events/nothing', '/events/nothing/seats', '/events/nothing/seats/stream'])(
    '%s is a 404 EVENT_NOT_FOUND',
    async (path) => expectProblem(await buyer.call('GET', path), 404, 'EVENT_NOT_FOUND'),
  );
});

describe('GET /events/{event_id}/seats', () => {
  const getMap = (query = '', headers: Record<string, string> = {}, method = 'GET') =>
    fetch(`${system.url}/api/v1/events/demo-theatre/seats${query}`, { method, headers });

  test('is an array of all seats in the order of the house', async () => {
    const { status, body } = await buyer.call<Seat[]>('GET', '/events/demo-theatre/seats');
    expect(status).toBe(200);
    expect(body).toHaveLength(1_200);
    expect(body[0]).toEqual({
      seat_id: 'demo-theatre-stalls-1-1',
      section: 'stalls',
      row: '1',
      number: 1,
      x: 0,
      y: 0,
      price: { amount: 8_500, currency: 'EUR' },
      status: 'AVAILABLE',
    });
  });

  test.each([
    ['br', 'br'],
    ['gzip', 'gzip'],
    ['gzip, deflate, br, zstd', 'br'],
    ['br;q=0, gzip', 'gzip'],
    ['br; q=0.0, gzip;q=0', null],
    ['identity', null],
  ])('Accept-Encoding: %s gets %s', async (accepted, encoding) => {
    const reply = await getMap('', { 'accept-encoding': accepted });
    expect(reply.headers.get('content-encoding')).toBe(encoding);
    expect(reply.headers.get('etag')).toMatch(/^"[^"]+"$/);
    expect(reply.headers.get('vary')).toMatch(/accept-encoding/i);
    const [, age] = /s-maxage=(\d+)/.exec(reply.headers.get('cache-control') ?? '') ?? [];
    expect(Number(age)).toBeGreaterThan(0);
    expect(Number(age)).toBeLessThanOrEqual(5);
    expect(await reply.json()).toHaveLength(1_200);
  });

  test('each encoding has its own tag', async () => {
    const replies = await Promise.all(
      ['br', 'gzip', 'identity'].map((name) => getMap('', { 'accept-encoding': name })),
    );
    expect(new Set(replies.map(({ headers }) => headers.get('etag'))).size).toBe(3);
  });

  test.each([
    ['the tag', (tag: string) => tag, 304],
    ['a list with the tag', (tag: string) => `"other", ${tag}`, 304],
    ['the tag made weak on its way', (tag: string) => `W/${tag}`, 304],
    ['any tag', () => '*', 304],
    ['another tag', () => '"other"', 200],
    ['the tag without its quotes', (tag: string) => tag.replaceAll('"', ''), 200],
  ])('If-None-Match with %s', async (_, toHeader, status) => {
    const tag = (await getMap()).headers.get('etag') ?? '';
    const reply = await getMap('', { 'if-none-match': toHeader(tag) });
    expect(reply.status).toBe(status);
    expect(reply.headers.get('etag')).toBe(tag);
    expect(reply.headers.get('cache-control')).toMatch(/s-maxage/);
    expect(reply.headers.get('x-request-id')).toMatch(/./);
    expect((await reply.text()) === '').toBe(status === 304);
  });

  test('HEAD answers like GET, without the map', async () => {
    const reply = await getMap('', {}, 'HEAD');
    expect(reply.status).toBe(200);
    expect(reply.headers.get('etag')).toBe((await getMap()).headers.get('etag'));
    expect(await reply.text()).toBe('');
  });

  test('the time of the one show may be named', async () => {
    const { body: event } = await buyer.call<Event>('GET', '/events/demo-theatre');
    const named = await buyer.call<Seat[]>('GET', `/events/demo-theatre/seats?show_time=${event.date}`);
    expect(named.body).toHaveLength(1_200);
  });

  test('of an event with several shows asks which one, and lists them', async () => {
    const { event_id, first, second } = await addTwoShows(system.stores.database, 3);
    const unnamed = await buyer.call<ProblemBody>('GET', `/events/${event_id}/seats`);
    expectProblem(unnamed, 400, 'SHOW_TIME_REQUIRED');
    expect(unnamed.body.show_times).toEqual([first.time, second.time]);
    for (const { time, seat_ids } of [first, second]) {
      const { body } = await buyer.call<Seat[]>('GET', `/events/${event_id}/seats?show_time=${time}`);
      expect(body.map(({ seat_id }) => seat_id)).toEqual(seat_ids);
    }
    const inAnotherZone = first.time.replace('Z', '-00:00');
    const { body } = await buyer.call<Seat[]>('GET', `/events/${event_id}/seats?show_time=${inAnotherZone}`);
    expect(body).toHaveLength(3);
  });

  test('of a show that is not there is a 404', async () => {
    const reply = await buyer.call<ProblemBody>('GET', '/events/demo-theatre/seats?show_time=2001-01-01T00:00:00Z');
    expectProblem(reply, 404, 'SHOW_NOT_FOUND');
  });
});

describe.concurrent('POST /reservations', () => {
  test('holds the seats in the order given, and says where the reservation is, what it costs and how long', async () => {
    const seats = takeSeats(3).reverse();
    const { status, headers, body } = await buyer.hold(house.event_id, seats, 'ann@example.org');
    expect(status).toBe(201);
    expect(headers.get('location')).toBe(`/api/v1/reservations/${body.reservation_id}`);
    expect(body).toEqual({
      reservation_id: expect.stringMatching(/^.{1,64}$/),
      event_id: house.event_id,
      seat_ids: seats,
      user_id: 'ann@example.org',
      price: { amount: 3 * SEAT_PRICE, currency: 'EUR' },
      status: 'HELD',
      expires_at: expect.stringMatching(UTC),
      expires_in_seconds: expect.any(Number),
      created_at: expect.stringMatching(UTC),
    });
    expect(Date.parse(body.expires_at) - Date.parse(body.created_at)).toBe(600_000);
    expect(body.expires_in_seconds).toBeGreaterThanOrEqual(598);
    expect(body.expires_in_seconds).toBeLessThanOrEqual(600);
    const { body: later } = await buyer.reservation(body.reservation_id);
    expect(later).toEqual({ ...body, expires_in_seconds: expect.any(Number) });
    expect(later.expires_in_seconds).toBeLessThanOrEqual(body.expires_in_seconds);
  });

  test('takes 1 and takes 10 seats', async () => {
    expect((await hold(1)).seat_ids).toHaveLength(1);
    expect((await hold(10)).seat_ids).toHaveLength(10);
  });

  test('holds none of the seats where one is taken, and names the taken ones in the order asked', async () => {
    const [free = '', sold = '', held = '', alsoFree = ''] = takeSeats(4);
    const first = await buyer.hold(house.event_id, [sold]);
    await buyer.payAndWait(first.body.reservation_id, 'tok_visa');
    await buyer.hold(house.event_id, [held]);
    const refused = await buyer.hold(house.event_id, [held, free, sold, alsoFree], 'bob');
    expectProblem(refused, 409, 'SEATS_UNAVAILABLE');
    expect(refused.body.conflicts).toEqual([held, sold]);
    expect((await buyer.hold(house.event_id, [free, alsoFree], 'bob')).status).toBe(201);
  });

  test('refuses a seat that the house keeps back', async () => {
    const [kept = ''] = takeSeats(1);
    const mark = (status: string) =>
      system.stores.database.query('UPDATE seats SET status = $2 WHERE seat_id = $1', [kept, status]);
    await mark('HELD');
    const refused = await buyer.hold(house.event_id, [kept]);
    await mark('AVAILABLE');
    expectProblem(refused, 409, 'SEATS_UNAVAILABLE');
    expect(refused.body.conflicts).toEqual([kept]);
  });

  test('refuses a taken seat to the one who has it, too', async () => {
    const { seat_ids } = await hold();
    expectProblem(await buyer.hold(house.event_id, seat_ids), 409, 'SEATS_UNAVAILABLE');
  });

  test('of an event that is not there is a 404', async () =>
    expectProblem(await buyer.hold('nothing', ['a']), 404, 'EVENT_NOT_FOUND'));

  test("names the seats that are not the event's, and holds none", async () => {
    const [own = ''] = takeSeats(1);
    const refused = await buyer.hold(house.event_id, [own, 'demo-theatre-stalls-1-1', 'nothing']);
    expectProblem(refused, 422, 'SEATS_NOT_IN_EVENT');
    expect(refused.body.seat_ids).toEqual(['demo-theatre-stalls-1-1', 'nothing']);
    expect((await buyer.hold(house.event_id, [own])).status).toBe(201);
  });

  test('takes a seat that was added a moment ago', async () => {
    const { event_id } = await addEvent(system.stores.database, 1);
    expect((await buyer.call('GET', `/events/${event_id}`)).status).toBe(200);
    const [late = ''] = await addSeats(system.stores.database, event_id, 1, 'B');
    expect((await buyer.hold(event_id, [late])).status).toBe(201);
  });
});

describe.concurrent('GET and DELETE /reservations/{reservation_id}', () => {
  test.each(['CONFIRMED', 'RELEASED', 'EXPIRED'] as const)('a reservation is shown after it is %s', async (status) => {
    const { reservation_id, booking } = await ended[status]();
    const { status: answered, body } = await buyer.reservation(reservation_id);
    expect(answered).toBe(200);
    expect(body).toMatchObject({ reservation_id, status, expires_in_seconds: 0 });
    expect(body.booking_id).toBe(booking?.booking_id);
  });

  test('DELETE gives the seats to the next buyer, and a repeat answers the same', async () => {
    const { reservation_id, seat_ids } = await hold(2);
    const released = await buyer.release(reservation_id);
    expect(released.status).toBe(200);
    expect(released.body).toMatchObject({ reservation_id, status: 'RELEASED', seat_ids, expires_in_seconds: 0 });
    expect((await buyer.hold(house.event_id, seat_ids, 'bob')).status).toBe(201);
    const again = await buyer.release(reservation_id);
    expect(again.status).toBe(200);
    expect(again.body).toEqual(released.body);
  });

  test('DELETE of a confirmed reservation is a 409, and changes nothing', async () => {
    const { reservation_id } = await ended.CONFIRMED();
    expectProblem(await buyer.release(reservation_id), 409, 'ALREADY_CONFIRMED');
    expect((await buyer.reservation(reservation_id)).body.status).toBe('CONFIRMED');
  });

  test('DELETE of an expired reservation is a 410', async () => {
    const { reservation_id } = await ended.EXPIRED();
    expectProblem(await buyer.release(reservation_id), 410, 'RESERVATION_EXPIRED');
  });

  test('DELETE while a payment is under way is refused, and the payment is kept', async () => {
    const { reservation_id } = await hold();
    const pending = await buyer.pay(reservation_id, 'tok_slow');
    expectProblem(await buyer.release(reservation_id), 409, 'PAYMENT_IN_PROGRESS');
    await bookingBecomes(pending.body.booking_id, 'CONFIRMED');
  });

  test.each(['GET', 'DELETE'])('%s of a reservation that is not there is a 404', async (method) =>
    expectProblem(await buyer.call(method, '/reservations/res_0'), 404, 'RESERVATION_NOT_FOUND'),
  );

  test('a refused reservation is not there', async () => {
    const { seat_ids } = await hold();
    await system.stores.redis.del(seatLock(house.event_id, seat_ids[0] ?? ''));
    expectProblem(await buyer.hold(house.event_id, seat_ids, 'bob'), 409, 'SEATS_UNAVAILABLE');
    const { rows } = await system.stores.database.query<{ reservation_id: string }>(
      `SELECT reservation_id FROM reservations WHERE status = 'REFUSED'`,
    );
    for (const { reservation_id } of rows) {
      expectProblem(await buyer.reservation(reservation_id), 404, 'RESERVATION_NOT_FOUND');
    }
  });
});

describe.concurrent('POST /bookings', () => {
  test('is accepted as PENDING and becomes CONFIRMED; Location leads to it', async () => {
    const { reservation_id, event_id, seat_ids, user_id, price } = await hold(2);
    const { status, headers, body } = await buyer.pay(reservation_id, 'tok_visa');
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/api/v1/bookings/${body.booking_id}`);
    const booking = { ...{ booking_id: body.booking_id, reservation_id, event_id, seat_ids, user_id, price } };
    expect(body).toEqual({ ...booking, status: 'PENDING', created_at: expect.stringMatching(UTC) });
    expect(await bookingBecomes(body.booking_id, 'CONFIRMED')).toEqual({ ...body, status: 'CONFIRMED' });
    expect((await buyer.reservation(reservation_id)).body).toMatchObject({
      status: 'CONFIRMED',
      booking_id: body.booking_id,
      expires_in_seconds: 0,
    });
  });

  test.each([
    ['tok_visa', 201, ['CAPTURED']],
    ['tok_slow', 201, ['CAPTURED']],
    ['tok_flaky', 201, ['CAPTURED']],
    ['tok_lost_reply', 201, ['CAPTURED']],
    ['tok_declined', 402, ['DECLINED']],
    ['tok_unheard_of', 402, ['DECLINED']],
  ])(
    'with %s and Prefer: wait answers %i when it is settled, charged once or not at all',
    async (token, status, charges) => {
      const { reservation_id, price } = await hold();
      const paid = await buyer.payAndWait(reservation_id, token);
      if (status === 402) expectProblem(paid, 402, 'PAYMENT_DECLINED');
      else expect(paid.body).toMatchObject({ reservation_id, status: 'CONFIRMED', price });
      expect(paid.status).toBe(status);
      const made = await buyer.charges(reservation_id);
      expect(made.map((charge) => charge.status)).toEqual(charges);
      expect(made[0]).toEqual({
        ...{ charge_id: expect.any(String), reservation_id, status: charges[0], ...price },
        created_at: expect.stringMatching(UTC),
      });
    },
  );

  test.each(['wait=1', 'wait=0', 'respond-async, wait=1'])(
    'Prefer: %s is too short for a slow payment: 202',
    async (prefer) => {
      const { reservation_id } = await hold();
      const paid = await buyer.pay(reservation_id, 'tok_slow', { prefer });
      expect(paid.status).toBe(202);
      expect(paid.body.status).toBe('PENDING');
      expect(paid.headers.get('location')).toBe(`/api/v1/bookings/${paid.body.booking_id}`);
      await bookingBecomes(paid.body.booking_id, 'CONFIRMED');
    },
  );

  test('a wait ends with its seconds, however often Temporal is asked again meanwhile', async () => {
    const workflows = createReservationWorkflows(system.client, new HoldOutcomes());
    const ids = { updateId: 'pay', workflowId: 'res_0' };
    const asked = performance.now();
    const outcome = await workflows.settled({ ...ids, result: () => new Promise(() => undefined) }, 100);
    expect(outcome).toBeUndefined();
    expect(performance.now() - asked).toBeLessThan(1_000);
  });

  test.each(['wait=31', 'wait="20"', 'return=minimal, wait=20', 'WAIT = 20'])('Prefer: %s waits', async (prefer) => {
    const { reservation_id } = await hold();
    const paid = await buyer.pay(reservation_id, 'tok_visa', { prefer });
    expect(paid.status).toBe(201);
    expect(paid.headers.get('preference-applied')).toMatch(/^wait=(20|30)$/);
  });

  test('a declined payment leaves the hold as it was; its booking says why, and another token pays', async () => {
    const held = await hold();
    const declined = await buyer.payAndWait(held.reservation_id, 'tok_declined');
    expectProblem(declined, 402, 'PAYMENT_DECLINED');
    const { body: still } = await buyer.reservation(held.reservation_id);
    expect(still).toMatchObject({ status: 'HELD', expires_at: held.expires_at });
    const failure = { code: 'PAYMENT_DECLINED', detail: expect.stringMatching(/./) };
    const { body: failed } = await buyer.booking(still.booking_id ?? '');
    expect(failed).toMatchObject({ reservation_id: held.reservation_id, status: 'FAILED', failure });
    expectProblem(await buyer.payAndWait(held.reservation_id, 'tok_declined'), 402, 'PAYMENT_DECLINED');
    const paid = await buyer.payAndWait(held.reservation_id, 'tok_visa');
    expect(paid.status).toBe(201);
    expect(paid.body.failure).toBeUndefined();
    const made = await buyer.charges(held.reservation_id);
    expect(made.map(({ status }) => status)).toEqual(['DECLINED', 'DECLINED', 'CAPTURED']);
  });

  test('without wait a declined payment shows in its booking', async () => {
    const { reservation_id } = await hold();
    const accepted = await buyer.pay(reservation_id, 'tok_declined');
    expect(accepted.status).toBe(202);
    const failed = await bookingBecomes(accepted.body.booking_id, 'FAILED');
    expect(failed.failure).toEqual({ code: 'PAYMENT_DECLINED', detail: expect.stringMatching(/./) });
  });

  test('another payment meanwhile is refused, the same one again is the same booking', async () => {
    const { reservation_id } = await hold();
    const { body } = await buyer.pay(reservation_id, 'tok_slow');
    expectProblem(await buyer.pay(reservation_id, 'tok_visa'), 409, 'PAYMENT_IN_PROGRESS');
    expectProblem(await buyer.payAndWait(reservation_id, 'tok_visa'), 409, 'PAYMENT_IN_PROGRESS');
    const again = await buyer.payAndWait(reservation_id, 'tok_slow');
    expect(again.status).toBe(201);
    expect(again.body.booking_id).toBe(body.booking_id);
    expect(await buyer.charges(reservation_id)).toMatchObject([{ status: 'CAPTURED' }]);
  });

  test.each(['tok_visa', 'tok_slow', 'tok_declined'])(
    'of a confirmed reservation answers 200 with its booking (%s)',
    async (token) => {
      const { reservation_id, booking } = await ended.CONFIRMED();
      for (const again of [await buyer.pay(reservation_id, token), await buyer.payAndWait(reservation_id, token)]) {
        expect(again.status).toBe(200);
        expect(again.body).toEqual(booking);
      }
      expect(await buyer.charges(reservation_id)).toMatchObject([{ status: 'CAPTURED' }]);
    },
  );

  test.each([
    ['RELEASED', 409, 'RESERVATION_RELEASED'],
    ['EXPIRED', 410, 'RESERVATION_EXPIRED'],
  ] as const)('of a reservation that is %s is a %i %s, and charges nothing', async (status, answer, code) => {
    const { reservation_id } = await ended[status]();
    expectProblem(await buyer.pay(reservation_id, 'tok_visa'), answer, code);
    expectProblem(await buyer.payAndWait(reservation_id, 'tok_visa'), answer, code);
    expect(await buyer.charges(reservation_id)).toEqual([]);
  });

  test('of a reservation that is not there is a 404', async () =>
    expectProblem(await buyer.pay('res_0', 'tok_visa'), 404, 'RESERVATION_NOT_FOUND'));

  test('a booking that is not there is a 404', async () =>
    expectProblem(await buyer.booking('bkg_0'), 404, 'BOOKING_NOT_FOUND'));
});

test('after all of this every seat and every charge is accounted for', async () =>
  expect(await findFaults(system.stores)).toEqual(NO_FAULTS));

describe('every answer', () => {
  test.each([
    ['GET', '/livez'],
    ['GET', '/readyz'],
    ['GET', '/metrics'],
    ['GET', '/openapi.json'],
    ['GET', '/docs'],
    ['GET', '/nothing'],
    ['GET', '/api/v1/events?limit=0'],
    ['GET', '/api/v1/events/%zz'],
    ['GET', `/api/v1/events/${'x'.repeat(200)}`],
    ['GET', '/api/v1/events/demo-theatre'],
    ['HEAD', '/api/v1/events/demo-theatre'],
    ['GET', '/api/v1/events/demo-theatre/seats'],
    ['GET', '/api/v1/events/demo-theatre/seats/stream'],
    ['HEAD', '/api/v1/events/demo-theatre/seats/stream'],
    ['POST', '/api/v1/reservations'],
    ['PATCH', '/api/v1/reservations'],
    ['OPTIONS', '/api/v1/reservations'],
  ])('%s %s has an X-Request-Id: the one that was sent', async (method, path) => {
    const leave = new AbortController();
    const headers = { 'x-request-id': 'my-request' };
    const { headers: answered } = await fetch(`${system.url}${path}`, { method, headers, signal: leave.signal });
    leave.abort();
    expect(answered.get('x-request-id')).toBe('my-request');
  });

  test.each(['', 'with space', 'x'.repeat(500), 'ümlaut'])('an X-Request-Id "%s" is replaced', async (given) => {
    const { headers } = await fetch(`${system.url}/livez`, { headers: { 'x-request-id': given } });
    expect(headers.get('x-request-id')).toMatch(/^[!-~]{8,128}$/);
    expect(headers.get('x-request-id')).not.toBe(given);
  });

  test('what is not HTTP is a 400 problem with an X-Request-Id', async () =>
    expectProblem(await exchange(system.url, 'What is this?\r\n\r\n'), 400, 'INVALID_REQUEST'));
});

test.each(['/events/', '/events/demo-theatre/', '/events/demo-theatre/seats/'])(
  'a slash at the end makes no difference: %s',
  async (path) => {
    const reply = await buyer.call('GET', path);
    expect(reply.status).toBe(200);
    expect(reply.body).toEqual((await buyer.call('GET', path.slice(0, -1))).body);
  },
);

describe('operations', () => {
  const get = (path: string) => fetch(`${system.url}${path}`);

  test('/livez answers 200', async () => expect((await get('/livez')).status).toBe(200));

  test('/readyz names each dependency and its state', async () => {
    const reply = await get('/readyz');
    expect(reply.status).toBe(200);
    expect(await reply.json()).toEqual({
      status: 'ready',
      dependencies: {
        postgres: { state: 'up', needed: true },
        redis: { state: 'up', needed: false },
        temporal: { state: 'up', needed: true },
      },
    });
  });

  test('/metrics is Prometheus text that counts requests', async () => {
    await get('/api/v1/events');
    const reply = await get('/metrics');
    expect(reply.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(await reply.text()).toMatch(/^http_request_duration_seconds_count\{.*route="\/api\/v1\/events".*\} \d+$/m);
  });

  test('/openapi.json describes every call of the contract as OpenAPI 3.1', async () => {
    expect(await (await get('/openapi.json')).json()).toMatchObject({
      openapi: expect.stringMatching(/^3\.1\./),
      paths: {
        '/api/v1/events': { get: { responses: { 200: {}, 400: {} } } },
        '/api/v1/events/{event_id}': { get: { responses: { 200: {}, 404: {} } } },
        '/api/v1/events/{event_id}/seats': { get: { responses: { 200: {}, 304: {}, 400: {}, 404: {} } } },
        '/api/v1/events/{event_id}/seats/stream': { get: { responses: { 200: {}, 404: {} } } },
        '/api/v1/reservations': { post: { responses: { 201: {}, 400: {}, 404: {}, 409: {}, 422: {}, 503: {} } } },
        '/api/v1/reservations/{reservation_id}': {
          get: { responses: { 200: {}, 404: {} } },
          delete: { responses: { 200: {}, 404: {}, 409: {}, 410: {} } },
        },
        '/api/v1/bookings': { post: { responses: { 201: {}, 202: {}, 402: {}, 404: {}, 409: {}, 410: {} } } },
        '/api/v1/bookings/{booking_id}': { get: { responses: { 200: {}, 404: {} } } },
      },
    });
  });

  test('/docs is a page', async () => {
    const reply = await get('/docs');
    expect(reply.status).toBe(200);
    expect(reply.headers.get('content-type')).toMatch(/^text\/html/);
  });
});
