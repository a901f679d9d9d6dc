/** The bookings' rows of the contract's table. */
import { afterAll, describe, expect, test } from 'vitest';
import { HoldOutcomes } from '../../api/hold-outcomes.ts';
import { createReservationWorkflows } from '../../api/reservation-workflows.ts';
import { openBoxOffice } from '../support/box-office.ts';
import { UTC, buyerAt, insist } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { inTime } from '../support/in-time.ts';
import { startApi } from '../support/system.ts';
import { until } from '../support/until.ts';

const { system, buyer, hold, ended, bookingBecomes, stop } = await openBoxOffice();
afterAll(stop);

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

  test('a wait ends when the server closes, with what is known by then: 202', async () => {
    const closing = await startApi(system.stores, 600);
    const { reservation_id } = await hold();
    const paying = buyerAt(closing.url).payAndWait(reservation_id, 'tok_slow', 30);
    const { body } = await until('the payment is under way', async () => {
      const reservation = await buyer.reservation(reservation_id);
      return reservation.body.booking_id !== undefined && reservation;
    });
    const stopped = closing.stop();
    const paid = await paying;
    expect(paid).toMatchObject({ status: 202, body: { booking_id: body.booking_id, status: 'PENDING' } });
    await stopped;
    await bookingBecomes(paid.body.booking_id, 'CONFIRMED');
  });

  test('a wait ends with its seconds, however often Temporal is asked again meanwhile', async () => {
    const workflows = createReservationWorkflows(system.client, new HoldOutcomes());
    const ids = { updateId: 'pay', workflowId: 'res_0' };
    const settled = workflows.settled({ ...ids, result: () => new Promise(() => undefined) }, 100);
    expect(await inTime(1_000, settled)).toBeUndefined();
  });

  test.each(['wait=31', 'wait="20"', 'return="a, wait=0", wait=20', 'WAIT = 20; a=b'])(
    'Prefer: %s waits',
    async (prefer) => {
      const { reservation_id } = await hold();
      const paid = await buyer.pay(reservation_id, 'tok_visa', { prefer });
      expect(paid.status).toBe(201);
      expect(paid.headers.get('preference-applied')).toMatch(/^wait=(20|30)$/);
    },
  );

  test.each(['wait=1.5', 'foo="a, wait=20"', 'foo; wait=20'])('Prefer: %s asks for no wait', async (prefer) => {
    const { reservation_id } = await hold();
    const paid = await buyer.pay(reservation_id, 'tok_slow', { prefer });
    expect([paid.status, paid.headers.get('preference-applied')]).toEqual([202, null]);
    await bookingBecomes(paid.body.booking_id, 'CONFIRMED');
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
    const { body } = await insist(() => buyer.pay(reservation_id, 'tok_slow'));
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

test('after all of this every seat and every charge is accounted for', () => expectNoFaults(system.stores));
