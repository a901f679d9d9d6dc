/** The reservations' rows of the contract's table. */
import { afterAll, describe, expect, test } from 'vitest';
import { seatLock } from '../../domain/redis-keys.ts';
import { openBoxOffice } from '../support/box-office.ts';
import { UTC } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { SEAT_PRICE, addEvent, addSeats } from '../support/house.ts';

const { system, buyer, event_id, takeSeats, hold, ended, bookingBecomes, stop } = await openBoxOffice();
afterAll(stop);

describe.concurrent('POST /reservations', () => {
  test('holds the seats in the order given, and says where the reservation is, what it costs and how long', async () => {
    const seats = takeSeats(3).reverse();
    const { status, headers, body } = await buyer.hold(event_id, seats, 'ann@example.org');
    expect(status).toBe(201);
    expect(headers.get('location')).toBe(`/api/v1/reservations/${body.reservation_id}`);
    expect(body).toEqual({
      reservation_id: expect.stringMatching(/^.{1,64}$/),
      event_id: event_id,
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
    const first = await buyer.hold(event_id, [sold]);
    await buyer.payAndWait(first.body.reservation_id, 'tok_visa');
    await buyer.hold(event_id, [held]);
    const refused = await buyer.hold(event_id, [held, free, sold, alsoFree], 'bob');
    expectProblem(refused, 409, 'SEATS_UNAVAILABLE');
    expect(refused.body.conflicts).toEqual([held, sold]);
    expect((await buyer.hold(event_id, [free, alsoFree], 'bob')).status).toBe(201);
  });

  test('refuses a seat that the house keeps back', async () => {
    const [kept = ''] = takeSeats(1);
    const mark = (status: string) =>
      system.stores.database.query('UPDATE seats SET status = $2 WHERE seat_id = $1', [kept, status]);
    await mark('HELD');
    const refused = await buyer.hold(event_id, [kept]);
    await mark('AVAILABLE');
    expectProblem(refused, 409, 'SEATS_UNAVAILABLE');
    expect(refused.body.conflicts).toEqual([kept]);
  });

  test('refuses a taken seat to the one who has it, too', async () => {
    const { seat_ids } = await hold();
    expectProblem(await buyer.hold(event_id, seat_ids), 409, 'SEATS_UNAVAILABLE');
  });

  test('of an event that is not there is a 404', async () =>
    expectProblem(await buyer.hold('nothing', ['a']), 404, 'EVENT_NOT_FOUND'));

  test("names the seats that are not the event's, and holds none", async () => {
    const [own = ''] = takeSeats(1);
    const refused = await buyer.hold(event_id, [own, 'demo-theatre-stalls-1-1', 'nothing']);
    expectProblem(refused, 422, 'SEATS_NOT_IN_EVENT');
    expect(refused.body.seat_ids).toEqual(['demo-theatre-stalls-1-1', 'nothing']);
    expect((await buyer.hold(event_id, [own])).status).toBe(201);
  });

  test('takes a seat that was added a moment ago', async () => {
    const concert = await addEvent(system.stores.database, 1);
    expect((await buyer.call('GET', `/events/${concert.event_id}`)).status).toBe(200);
    const [late = ''] = await addSeats(system.stores.database, concert.event_id, 1, 'B');
    expect((await buyer.hold(concert.event_id, [late])).status).toBe(201);
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
    expect((await buyer.hold(event_id, seat_ids, 'bob')).status).toBe(201);
    const again = await buyer.release(reservation_id);
    expect(again.status).toBe(200);
    expect(again.body).toEqual(released.body);
  });

  test('DELETE may name a content type without any content, and has none that is no JSON', async () => {
    const { reservation_id } = await hold();
    const remove = (body: string | null) =>
      fetch(`${system.url}/api/v1/reservations/${reservation_id}`, {
        method: 'DELETE',
        headers: { 'content-type': 'application/json' },
        body,
      });
    expect((await remove('{')).status).toBe(400);
    expect((await remove(null)).status).toBe(200);
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
    await system.stores.redis.del(seatLock(event_id, seat_ids[0] ?? ''));
    expectProblem(await buyer.hold(event_id, seat_ids, 'bob'), 409, 'SEATS_UNAVAILABLE');
    const { rows } = await system.stores.database.query<{ reservation_id: string }>(
      `SELECT reservation_id FROM reservations WHERE status = 'REFUSED'`,
    );
    for (const { reservation_id } of rows) {
      expectProblem(await buyer.reservation(reservation_id), 404, 'RESERVATION_NOT_FOUND');
    }
  });
});

test('after all of this every seat and every charge is accounted for', () => expectNoFaults(system.stores));
