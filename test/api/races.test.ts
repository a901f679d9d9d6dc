/** Many at once, over HTTP: who wins, who is told what, and that it is so. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WithStartWorkflowOperation } from '@temporalio/client';
import type { PoolClient } from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Admission } from '../../api/admission.ts';
import type { Reservation } from '../../domain/model.ts';
import { seatLock } from '../../domain/redis-keys.ts';
import { buyerAt, insist, type Buyer, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { addEvent } from '../support/house.ts';
import { watchLag } from '../support/in-time.ts';
import { ANSWER_WITHIN_MS, TaskQueues, claim } from '../../workflows/messages.ts';
import { replayReservations } from '../support/replays.ts';
import { startApi, startSystem, workflowBundle } from '../support/system.ts';
import { until } from '../support/until.ts';

/** Lets all in at once: the point of a race. */
class OpenDoor extends Admission {
  override run<T>(attempt: (waited: boolean) => Promise<T>): Promise<T> {
    return attempt(false);
  }
}

let system: Awaited<ReturnType<typeof startSystem>>;
let buyer: Buyer;
beforeAll(async () => {
  system = await startSystem({ admission: new OpenDoor({ isAway: false }) });
  buyer = buyerAt(system.url);
});
afterAll(() => system.stop());

const nothingIsUnderWay = () =>
  until(
    'all payments are settled',
    async () => {
      const { rowCount } = await system.stores.database.query(`SELECT 1 FROM bookings WHERE status = 'PENDING'`);
      return rowCount === 0;
    },
    50_000,
  );

/** Whatever the race: in the end every seat, lock and charge is accounted for. */
afterEach(async () => {
  await nothingIsUnderWay();
  await expectNoFaults(system.stores);
});

const times = <T>(count: number, make: (n: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, n) => make(n)));

/** So many, but only a few at a time. */
const inTurns = async <T>(count: number, atOnce: number, make: (n: number) => Promise<T>): Promise<T[]> => {
  const lanes = await times(atOnce, async (lane) => {
    const made: T[] = [];
    for (let n = lane; n < count; n += atOnce) made.push(await make(n));
    return made;
  });
  return lanes.flat();
};

const hold = (eventId: string, seats: string[], user: string, from = buyer) => from.hold(eventId, seats, user);

/** Whoever wants a seat of the event waits until this transaction is over. */
const holdUpSeats = (by: PoolClient, eventId: string) =>
  by.query(`BEGIN; SELECT 1 FROM seats WHERE event_id = '${eventId}' FOR UPDATE`);

async function holdOne() {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 1);
  const { status, body } = await hold(event_id, seat_ids, 'ann');
  expect(status).toBe(201);
  return body;
}

/** The HTTP status of each reply with its code, counted. */
function tally(replies: Reply<Partial<ProblemBody>>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, body } of replies) {
    const answer = body.code === undefined ? `${status}` : `${status} ${body.code}`;
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  return counts;
}

test('of 200 buyers for 20 seats 20 win, and each other one is told that the seat is taken', async () => {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 20);
  const seatFor = (n: number) => seat_ids[n % 20] ?? '';
  const replies = await times(200, (n) => hold(event_id, [seatFor(n)], `buyer-${n}`));
  expect(tally(replies)).toEqual({ 201: 20, '409 SEATS_UNAVAILABLE': 180 });
  const lost = replies.flatMap((reply, n) => (reply.status === 409 ? [{ reply, seat: seatFor(n) }] : []));
  for (const { reply, seat } of lost) expect(reply.body.conflicts).toEqual([seat]);
  const sold = replies.flatMap(({ status, body }) => (status === 201 ? body.seat_ids : []));
  expect(sold.sort()).toEqual(seat_ids.sort());
});

test('holds of several seats that overlap in any order are granted in full or not at all', async () => {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 12);
  const seatsFor = (n: number) => {
    const run = [0, 1, 2, 3].map((i) => seat_ids[(n * 5 + i) % 12] ?? '');
    return n % 2 === 0 ? run : run.reverse();
  };
  const replies = await times(60, (n) => hold(event_id, seatsFor(n), `buyer-${n}`));
  const { 201: won = 0, ...others } = tally(replies);
  expect(Object.keys(others)).toEqual(['409 SEATS_UNAVAILABLE']);
  expect(won).toBeGreaterThan(0);
  replies.forEach(({ status, body }, n) => {
    if (status === 201) expect(body.seat_ids).toEqual(seatsFor(n));
    else expect(seatsFor(n)).toEqual(expect.arrayContaining(body.conflicts ?? ['no conflicts named']));
  });
  const { rows } = await system.stores.database.query<{ seat_id: string }>(
    `SELECT seat_id FROM seats WHERE event_id = $1 AND status = 'HELD' ORDER BY seat_id`,
    [event_id],
  );
  const granted = replies.flatMap(({ status, body }) => (status === 201 ? body.seat_ids : []));
  expect(rows.map(({ seat_id }) => seat_id)).toEqual(granted.sort());
  const { rows: deadlocks } = await system.stores.database.query(
    'SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()',
  );
  expect(deadlocks).toEqual([{ deadlocks: 0 }]);
});

test('50 payments of one reservation at once make one charge and one booking, which all are told', async () => {
  const { reservation_id, price } = await holdOne();
  const replies = await times(50, () => insist(() => buyer.payAndWait(reservation_id, 'tok_visa')));
  expect([...new Set(replies.map(({ status }) => (status === 200 ? 201 : status)))]).toEqual([201]);
  expect(new Set(replies.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  expect(await buyer.charges(reservation_id)).toMatchObject([{ status: 'CAPTURED', ...price }]);
});

test('50 payments with different cards at once make one charge; the others are told that one is under way', async () => {
  const { reservation_id } = await holdOne();
  const tokens = ['tok_visa', 'tok_slow', 'tok_flaky', 'tok_lost_reply'];
  const replies = await times(50, (n) => insist(() => buyer.payAndWait(reservation_id, tokens[n % 4] ?? '')));
  const { 200: again = 0, 201: paid = 0, '409 PAYMENT_IN_PROGRESS': refused = 0, ...others } = tally(replies);
  expect(others).toEqual({});
  expect(again + paid + refused).toBe(50);
  expect(paid + again).toBeGreaterThan(0);
  const bookings = replies.filter(({ status }) => status < 300).map(({ body }) => body.booking_id);
  expect(new Set(bookings).size).toBe(1);
  expect(await buyer.charges(reservation_id)).toMatchObject([{ status: 'CAPTURED' }]);
});

test('20 who give a reservation back at once are all told the same', async () => {
  const { reservation_id } = await holdOne();
  const replies = await times(20, () => insist(() => buyer.release(reservation_id)));
  expect(tally(replies)).toEqual({ 200: 20 });
  expect(new Set(replies.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  expect(replies[0]?.body.status).toBe('RELEASED');
});

test('of a payment and a release at once one is refused, and what was told is what became of it', async () => {
  const ends = await times(20, async (n) => {
    const { reservation_id } = await holdOne();
    const pay = () => insist(() => buyer.payAndWait(reservation_id, 'tok_visa'));
    const release = () => insist(() => buyer.release(reservation_id));
    const [paid, released] =
      n % 2 === 0 ? await Promise.all([pay(), release()]) : (await Promise.all([release(), pay()])).reverse();
    const { body } = await buyer.reservation(reservation_id);
    const charges = await buyer.charges(reservation_id);
    return { paid, released, ended: body.status, charges: charges.map(({ status }) => status) };
  });
  for (const { paid, released, ended, charges } of ends) {
    if (paid?.status === 201 || paid?.status === 200) {
      expect(released?.body).toMatchObject({
        code: expect.stringMatching(/^(ALREADY_CONFIRMED|PAYMENT_IN_PROGRESS)$/),
      });
      expect({ ended, charges }).toEqual({ ended: 'CONFIRMED', charges: ['CAPTURED'] });
    } else {
      expect(paid?.body).toMatchObject({ code: 'RESERVATION_RELEASED', status: 409 });
      expect(released?.status).toBe(200);
      expect({ ended, charges }).toEqual({ ended: 'RELEASED', charges: [] });
    }
  }
});

test('of 100 payments within a tenth of a second of the deadline each becomes what its buyer was told', async () => {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 100);
  const hasty = await startApi(system.stores, 2, new OpenDoor({ isAway: false }));
  const hastyBuyer = buyerAt(hasty.url);
  async function payAtDeadline({ reservation_id, expires_at }: Reservation, n: number) {
    await delay(Date.parse(expires_at) - Date.now() + n - 50);
    return hastyBuyer.payAndWait(reservation_id, 'tok_visa');
  }
  const buyers = await inTurns(100, 8, async (n) => {
    const { status, body } = await hold(event_id, [seat_ids[n] ?? ''], `buyer-${n}`, hastyBuyer);
    expect(status).toBe(201);
    return { id: body.reservation_id, paying: payAtDeadline(body, n) };
  });
  const told = await Promise.all(buyers.map(async ({ id, paying }) => ({ id, status: (await paying).status })));
  await hasty.stop();
  await nothingIsUnderWay();

  const truths: Record<number, string[]> = {
    201: ['CONFIRMED CAPTURED'],
    202: ['CONFIRMED CAPTURED'], // accepted, on a machine too slow to settle them all in time
    410: ['EXPIRED '],
    503: ['CONFIRMED CAPTURED', 'EXPIRED '], // the outcome was not known
  };
  const became = await Promise.all(
    told.map(async ({ id, status }) => {
      const { body } = await buyer.reservation(id);
      const captured = (await buyer.charges(id)).filter((charge) => charge.status === 'CAPTURED');
      return { status, end: `${body.status} ${captured.map((charge) => charge.status).join()}` };
    }),
  );
  expect(became.filter(({ status, end }) => !truths[status]?.includes(end))).toEqual([]);
  expect(became.map(({ status }) => status)).not.toEqual(became.map(() => 503));
}, 120_000);

/** Keeps everybody waiting for as long as a client waits for its answer. */
class LongQueue extends Admission {
  override async run<T>(attempt: (waited: boolean) => Promise<T>): Promise<T> {
    await delay(ANSWER_WITHIN_MS);
    return attempt(true);
  }
}

test('a hold that comes after the wait for it, and so is given up, is not told as had', async () => {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 1);
  const late = await startApi(system.stores, 600, new LongQueue({ isAway: false }));
  const { status } = await buyerAt(late.url).holdOnce(event_id, seat_ids, 'ann');
  await late.stop();
  expect(status).toBe(503);
});

test('a hold is given up where its statement began in time, and was granted when who claimed it had left', async () => {
  const { event_id, seat_ids } = await addEvent(system.stores.database, 1);
  const patience = { answer_within_ms: 300 };
  const slow = await system.stores.database.connect();
  try {
    await holdUpSeats(slow, event_id);
    const askedAt = performance.now();
    const workflowId = `res_${randomUUID()}`;
    const claimed = system.client.workflow.executeUpdateWithStart(claim, {
      args: [patience],
      startWorkflowOperation: new WithStartWorkflowOperation('reservation', {
        workflowId,
        taskQueue: TaskQueues.reservations,
        args: [{ event_id, user_id: 'ann', seat_ids, hold_seconds: 10, ...patience }],
        workflowIdConflictPolicy: 'FAIL',
      }),
    });
    await until('its client has left', async () => performance.now() > askedAt + 2 * patience.answer_within_ms);
    await slow.query('ROLLBACK');
    expect(await claimed).toMatchObject({ status: 'HELD' });
    expect(await system.client.workflow.getHandle(workflowId).result()).toBe('RELEASED');
  } finally {
    slow.release(true);
  }
});

test('a payment that was accepted in time and is being rescued is told alike to its repeat', async () => {
  const { database } = system.stores;
  const { event_id, seat_ids } = await addEvent(database, 1);
  const { reservation_id } = (await hold(event_id, seat_ids, 'ann')).body;
  const [othersTimer, rival] = [await database.connect(), await database.connect()];
  try {
    // The timer of another hold expires this one as well, just when its payment was accepted ...
    await othersTimer.query('BEGIN');
    await othersTimer.query(`UPDATE reservations SET status = 'EXPIRED' WHERE reservation_id = $1`, [reservation_id]);
    await othersTimer.query(`UPDATE seats SET status = 'AVAILABLE', reservation_id = NULL WHERE event_id = $1`, [
      event_id,
    ]);
    const first = buyer.payAndWait(reservation_id, 'tok_visa');
    await until('the payment waits for the reservation', async () => {
      const { rowCount } = await database.query(
        `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%paying%'
         AND datname = current_database() AND pid <> pg_backend_pid()`,
      );
      return rowCount === 1;
    });
    // ... and the rescue has to wait for the seat.
    const rivalLooks = holdUpSeats(rival, event_id);
    await othersTimer.query('COMMIT');
    await rivalLooks;
    const repeat = buyer.payAndWait(reservation_id, 'tok_visa');
    await Promise.race([repeat, delay(500)]);
    await rival.query('ROLLBACK');
    expect([(await first).status, (await repeat).status]).toEqual([201, 201]);
  } finally {
    othersTimer.release(true);
    rival.release(true);
  }
  expect((await buyer.charges(reservation_id)).map(({ status }) => status)).toEqual(['CAPTURED']);
});

test('a hold whose outcome is not known is not refused to its repeat while it may yet be granted', async () => {
  const { database, redis } = system.stores;
  const { event_id, seat_ids } = await addEvent(database, 1);
  const lock = seatLock(event_id, seat_ids[0] ?? '');
  const key = { 'idempotency-key': randomUUID() };
  const slow = await database.connect();
  const waitingHold = () =>
    until('the hold waits for the seat', async () => {
      const { rows } = await database.query<{ query_start: Date }>(
        `SELECT query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
      );
      return rows[0]?.query_start.getTime();
    });
  try {
    await holdUpSeats(slow, event_id);
    const first = buyer.holdOnce(event_id, seat_ids, 'ann', key);
    const firstTry = await waitingHold();
    expect((await first).status).toBe(503);
    await until('it is tried again, past the lock in Redis', async () => (await waitingHold()) > firstTry);
    await redis.set(lock, 'res_of_somebody_else');
    const repeat = buyer.holdOnce(event_id, seat_ids, 'ann', key);
    await Promise.race([repeat, delay(300)]);
    await redis.del(lock);
    await slow.query('ROLLBACK');
    const { status, body } = await repeat;
    expect(status).toBe(201);
    const { rows } = await database.query('SELECT reservation_id FROM reservations WHERE event_id = $1', [event_id]);
    expect(rows).toEqual([{ reservation_id: body.reservation_id }]);
  } finally {
    slow.release(true);
  }
});

test('nor where the try that may yet be granted is not the first: that one ended before anybody heard of it', async () => {
  const { database } = system.stores;
  const { event_id, seat_ids } = await addEvent(database, 1);
  const key = { 'idempotency-key': randomUUID() };
  const hasty = await startApi(system.stores, 1);
  const ask = () => buyerAt(hasty.url).holdOnce(event_id, seat_ids, 'ann', key);
  const slow = await database.connect();
  try {
    await holdUpSeats(slow, event_id);
    expect((await ask()).status).toBe(503);
    await slow.query('ROLLBACK');
    await until('the first try has run out and ended', async () => {
      const { rows } = await database.query<{ reservation_id: string }>(
        `SELECT reservation_id FROM reservations WHERE event_id = $1 AND status = 'EXPIRED'`,
        [event_id],
      );
      const [first] = rows;
      if (!first) return false;
      const { status } = await system.client.workflow.getHandle(first.reservation_id).describe();
      return status.name === 'COMPLETED';
    });
    await holdUpSeats(slow, event_id);
    expect((await ask()).status).toBe(503);
    const repeat = ask();
    await Promise.race([repeat, delay(300)]);
    await slow.query('ROLLBACK');
    expect(await repeat).toMatchObject({ status: 201, body: { seat_ids } });
  } finally {
    slow.release(true);
    await hasty.stop();
  }
});

test('100 holds of a second end not before it is over, and within a second after', async () => {
  const { database } = system.stores;
  await database.query(`
    CREATE TABLE ends (reservation_id text, late_seconds float8);
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO ends VALUES (NEW.reservation_id, extract(epoch FROM clock_timestamp() - NEW.expires_at));
      RETURN NULL;
    END $$;
    CREATE TRIGGER end_noted AFTER UPDATE ON reservations FOR EACH ROW
      WHEN (NEW.status = 'EXPIRED' AND OLD.status = 'HELD') EXECUTE FUNCTION note_end()`);
  const { event_id, seat_ids } = await addEvent(database, 100);
  const hasty = await startApi(system.stores, 1);
  const hastyBuyer = buyerAt(hasty.url);
  const allowance = watchLag();
  const replies = await inTurns(100, 8, (n) => hold(event_id, [seat_ids[n] ?? ''], `buyer-${n}`, hastyBuyer));
  const ends = await until('all holds have ended', async () => {
    const { rows } = await database.query<{ reservation_id: string; late_seconds: number }>('SELECT * FROM ends');
    const ended = new Set(rows.map(({ reservation_id }) => reservation_id));
    return replies.every(({ body }) => ended.has(body.reservation_id)) && rows;
  });
  await hasty.stop();
  const idsOf = (them: { reservation_id: string }[]) => them.map(({ reservation_id }) => reservation_id);
  expect(new Set(idsOf(replies.map(({ body }) => body))).size).toBe(100);
  expect(new Set(idsOf(ends)).size).toBe(ends.length);
  const lateness = ends.map(({ late_seconds }) => late_seconds);
  expect(Math.min(...lateness)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...lateness)).toBeLessThan(1 + (await allowance()) / 1_000);
}, 60_000);

test('every reservation of these races replays from its history, as after a crash of its worker', async () => {
  const { count, failed } = await replayReservations(system.client, workflowBundle());
  expect(failed).toEqual([]);
  expect(count).toBeGreaterThan(50);
}, 60_000);
