/** What is answered while a service is away, refused or silent, and that the sale goes on by itself once it is back. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { Event, Seat } from '../../domain/model.ts';
import { buyerAt, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addEvent } from '../support/house.ts';
import { inTime as answerIn } from '../support/in-time.ts';
import { linkStores } from '../support/links.ts';
import { viewSeats } from '../support/seat-viewer.ts';
import { openStores } from '../support/stores.ts';
import { startApi, startWorkers } from '../support/system.ts';
import { until } from '../support/until.ts';

const TOLD_WITHIN_MS = 2_500;
/**
 * The SDK's pollers wait up to 10 s between two tries, and what was meant for one that is gone waits 10 s for it; a
 * payment may meet both, and then those of its own queue. A hold whose client was told nothing waits for its retry, and
 * is given up after 20 s at the latest.
 */
const BACK_WITHIN_MS = 40_000;

const stores = await openStores();
const { links, linked } = await linkStores(stores);
const workers = await startWorkers(linked);
const api = await startApi(linked, 600);
const buyer = buyerAt(api.url);
const { event_id, seat_ids } = await addEvent(stores.database, 100);
afterAll(async () => {
  await api.stop();
  await workers.stop();
  await linked.close();
  await stores.close();
});

const restore = () => Promise.all(Object.values(links).map((link) => link.restore()));
afterEach(restore);

const takeSeat = () => seat_ids.splice(0, 1);
const newKey = () => ({ 'idempotency-key': randomUUID() });

async function hold() {
  const { status, body } = await buyer.hold(event_id, takeSeat());
  expect(status).toBe(201);
  return body;
}

const inTime = <T>(answer: Promise<T>) => answerIn(TOLD_WITHIN_MS, answer);

async function expectUnavailable(answer: Promise<Reply<ProblemBody>>): Promise<void> {
  const reply = await inTime(answer);
  expectProblem(reply, 503, 'UNAVAILABLE');
  expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(reply.body.detail).toContain('same Idempotency-Key');
}

async function expectMapAndEvents(): Promise<void> {
  const [page, event, map] = await Promise.all([
    inTime(buyer.call<{ events: Event[] }>('GET', '/events')),
    inTime(buyer.call<Event>('GET', `/events/${event_id}`)),
    inTime(buyer.call<Seat[]>('GET', `/events/${event_id}/seats`)),
  ]);
  expect([page.status, event.status, map.status]).toEqual([200, 200, 200]);
  expect(page.body.events.map((it) => it.event_id)).toContain(event_id);
  expect(map.body).toHaveLength(100);
}

/** As a good client does: what is not known is asked again with the same key, and what was refused with another. */
async function becomesHeld(seats: string[], firstKey: Record<string, string>) {
  let key = firstKey;
  return until(
    `${seats.join()} can be held`,
    async () => {
      const { status, body } = await buyer.holdOnce(event_id, seats, 'ann', key);
      if (status === 409) key = newKey();
      return status === 201 && body;
    },
    BACK_WITHIN_MS,
  );
}

/** The same with a payment: it needs a worker that has found Temporal again, which the first try may not wait for. */
const becomesConfirmed = (reservation_id: string, key: Record<string, string>) =>
  until(
    `${reservation_id} is paid for`,
    async () => {
      const { body } = await buyer.pay(reservation_id, 'tok_visa', { ...key, prefer: 'wait=5' });
      return body.status === 'CONFIRMED';
    },
    BACK_WITHIN_MS,
  );

const readiness = () => inTime(fetch(`${api.url}/readyz`));

describe.each(['refuse', 'silence'] as const)('each service: %s', { timeout: 150_000 }, (cut) => {
  test('without Temporal all can be read, and a write is to be tried again, which then comes about once', async () => {
    const [first, second] = [await hold(), await hold()];
    await links.Temporal[cut]();
    const [seats, key, payKey] = [takeSeat(), newKey(), newKey()];
    await Promise.all([
      expectMapAndEvents(),
      inTime(buyer.reservation(first.reservation_id)).then(({ body }) => expect(body.status).toBe('HELD')),
      viewSeats(api.url, event_id).then((viewer) => viewer.close()),
      expectUnavailable(buyer.holdOnce(event_id, seats, 'ann', key)),
      expectUnavailable(buyer.pay(first.reservation_id, 'tok_visa', payKey)),
      expectUnavailable(buyer.release(second.reservation_id)),
    ]);
    await restore();

    const { reservation_id } = await becomesHeld(seats, key);
    const { rows } = await stores.database.query('SELECT reservation_id FROM reservations WHERE seat_ids = $1', [
      seats,
    ]);
    expect(rows).toEqual([{ reservation_id }]);
    await becomesConfirmed(first.reservation_id, payKey);
    expect(await buyer.charges(first.reservation_id)).toMatchObject([{ status: 'CAPTURED' }]);
    await until(
      'the seats are given back',
      async () => (await buyer.release(second.reservation_id)).status === 200,
      BACK_WITHIN_MS,
    );
  });

  test('without Redis seats are held, refused, paid for and shown, and no hold waits for it', async () => {
    const viewer = await viewSeats(api.url, event_id);
    const timeTenHolds = async () => {
      const askedAt = performance.now();
      for (let n = 0; n < 10; n++) await hold();
      return performance.now() - askedAt;
    };
    const usualMs = await timeTenHolds();
    await links.Redis[cut]();
    const held = await hold();
    expect((await timeTenHolds()) - usualMs).toBeLessThan(10 * 2 * 250); // of three commands each, and their deadline

    const refused = await buyer.hold(event_id, held.seat_ids, 'bob');
    expectProblem(refused, 409, 'SEATS_UNAVAILABLE');
    expect(refused.body.conflicts).toEqual(held.seat_ids);
    expect((await buyer.payAndWait(held.reservation_id, 'tok_visa')).body.status).toBe('CONFIRMED');
    await until('the map shows it', async () => {
      const { body } = await buyer.call<Seat[]>('GET', `/events/${event_id}/seats`);
      return body.find(({ seat_id }) => held.seat_ids.includes(seat_id))?.status === 'BOOKED';
    });
    const ready = await readiness();
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({ dependencies: { redis: { state: 'down', needed: false } } });
    await restore();
    const redisState = async () => (await (await readiness()).text()).includes('"redis":{"state":"up"');
    await until('Redis is back', redisState);
    viewer.close();
  });

  test('without PostgreSQL nothing is acknowledged, what is cached is shown, and nothing stays behind', async () => {
    const held = await hold();
    await expectMapAndEvents();
    const [unread, halfRead] = [await addEvent(stores.database, 1), await addEvent(stores.database, 1)];
    await buyer.call('GET', `/events/${halfRead.event_id}`);
    const get = (path: string) => buyer.call<ProblemBody>('GET', path);
    await links.PostgreSQL[cut]();
    const seats = takeSeat();
    await Promise.all([
      expectMapAndEvents(),
      expectUnavailable(buyer.holdOnce(event_id, seats)),
      expectUnavailable(buyer.holdOnce(event_id, seats, 'bob', newKey())),
      expectUnavailable(buyer.holdOnce(unread.event_id, unread.seat_ids, 'bob', newKey())),
      expectUnavailable(get(`/events/${unread.event_id}`)),
      expectUnavailable(get(`/events/${unread.event_id}/seats`)),
      expectUnavailable(get(`/events/${halfRead.event_id}/seats`)),
      expectUnavailable(get('/events?limit=7')),
      expectUnavailable(buyer.reservation(held.reservation_id)),
      expectUnavailable(buyer.pay(held.reservation_id, 'tok_visa')),
      expectUnavailable(buyer.release(held.reservation_id)),
    ]);
    expect((await readiness()).status).toBe(503); // which takes a second: what is granted now, nobody waits for
    await restore();

    await becomesHeld(seats, newKey());
    await becomesConfirmed(held.reservation_id, newKey());
    await expectNoFaults(stores);
  });

  test('when all three are back, the sale goes on by itself', async () => {
    await hold();
    await Promise.all(Object.values(links).map((link) => link[cut]()));
    const [live, ready] = await Promise.all([fetch(`${api.url}/livez`), readiness()]);
    expect(live.status).toBe(200);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      code: 'NOT_READY',
      dependencies: { postgres: { state: 'down' }, redis: { state: 'down' }, temporal: { state: 'down' } },
    });
    await expectUnavailable(buyer.holdOnce(event_id, takeSeat()));
    await restore();

    const held = await becomesHeld(takeSeat(), newKey());
    await becomesConfirmed(held.reservation_id, newKey());
    expect((await readiness()).status).toBe(200);
  });
});

test('after all of this every seat and every charge is accounted for', () => expectNoFaults(stores));
