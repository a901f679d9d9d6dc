/** The seat map's row of the contract's table. */
import { afterAll, describe, expect, test } from 'vitest';
import type { Event, Seat } from '../../domain/model.ts';
import { buyerAt, type ProblemBody } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addTwoShows } from '../support/house.ts';
import { startSystem } from '../support/system.ts';

const system = await startSystem();
const buyer = buyerAt(system.url);
afterAll(system.stop);

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
