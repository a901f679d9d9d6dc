/** A box office with a house of its own, and reservations in it that are held or have ended. */
import { expect } from 'vitest';
import type { Booking, Reservation } from '../../domain/model.ts';
import { buyerAt, insist } from './buyer.ts';
import { addEvent } from './house.ts';
import { startApi, startSystem } from './system.ts';
import { until } from './until.ts';

export async function openBoxOffice() {
  const system = await startSystem();
  const hasty = await startApi(system.stores, 1);
  const buyer = buyerAt(system.url);
  const hastyBuyer = buyerAt(hasty.url);
  const house = await addEvent(system.stores.database, 200);

  /** Seats that no other test takes. */
  const takeSeats = (count: number) => house.seat_ids.splice(0, count);

  async function hold(seats = 1, from = buyer): Promise<Reservation> {
    const seat_ids = takeSeats(seats);
    const { status, body } = await from.hold(house.event_id, seat_ids, 'ann');
    expect(status).toBe(201);
    return body;
  }

  const bookingBecomes = (id: string, status: Booking['status']) =>
    until(`${id} is ${status}`, async () => {
      const { body } = await buyer.booking(id);
      return body.status === status && body;
    });

  /** A reservation that has ended so, and the booking if there is one. */
  const ended: Record<
    Exclude<Reservation['status'], 'HELD'>,
    () => Promise<{ reservation_id: string; booking?: Booking }>
  > = {
    async CONFIRMED() {
      const { reservation_id } = await hold();
      const { body } = await insist(() => buyer.payAndWait(reservation_id, 'tok_visa'));
      return { reservation_id, booking: await bookingBecomes(body.booking_id, 'CONFIRMED') };
    },
    async RELEASED() {
      const { reservation_id } = await hold();
      await buyer.release(reservation_id);
      return { reservation_id };
    },
    async EXPIRED() {
      const { reservation_id } = await hold(1, hastyBuyer);
      await until(
        `${reservation_id} is EXPIRED`,
        async () => (await buyer.reservation(reservation_id)).body.status === 'EXPIRED',
      );
      return { reservation_id };
    },
  };

  return {
    system,
    buyer,
    event_id: house.event_id,
    takeSeats,
    hold,
    ended,
    bookingBecomes,
    async stop() {
      await hasty.stop();
      await system.stop();
    },
  };
}
