/** The events' rows of the contract's table. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Event, Seat } from '../../domain/model.ts';
import { buyerAt, UTC, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { startSystem } from '../support/system.ts';

const system = await startSystem();
const buyer = buyerAt(system.url);
afterAll(system.stop);

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
         ('l-1', 'First', '2031-01-01', 'Olympia'), ('l-2', 'Second', '2031-01-01T23:59Z', 'Ödeon'),
         ('l-5', 'Fifth', '2031-01-02T00:00:00.000002Z', 'Olympia')`,
    );
  });

  test.each([
    ['by date', 'from=2031-01-01', ['First', 'Second', 'Third', 'Fourth', 'Fifth']],
    ['from a time on, inclusive', 'from=2031-01-02T00:00:00Z', ['Third', 'Fourth', 'Fifth']],
    ['up to a time, inclusive', 'from=2031-01-01&to=2031-01-01T00:00:00Z', ['First']],
    ['up to a day, all of it', 'from=2031-01-01&to=2031-01-01', ['First', 'Second']],
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
