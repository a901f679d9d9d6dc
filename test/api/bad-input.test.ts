/** What no client should send: each is refused with a reason, and leaves no trace. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buyerAt, type Buyer, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addEvent } from '../support/house.ts';
import { exchange } from '../support/raw-http.ts';
import { startSystem } from '../support/system.ts';

let system: Awaited<ReturnType<typeof startSystem>>;
let buyer: Buyer;
let reservation: { event_id: string; seat_ids: string[]; user_id: string };
let booking: { reservation_id: string; payment_token: string };
beforeAll(async () => {
  system = await startSystem();
  buyer = buyerAt(system.url);
  const { event_id, seat_ids } = await addEvent(system.stores.database, 12);
  const [held = '', ...free] = seat_ids;
  const { body } = await buyer.hold(event_id, [held]);
  reservation = { event_id, seat_ids: free.slice(0, 2), user_id: 'ann' };
  booking = { reservation_id: body.reservation_id, payment_token: 'tok_visa' };
});
afterAll(() => system.stop());

/** Everything that a request may leave behind. */
async function traces() {
  const { database, redis } = system.stores;
  const { rows } = await database.query(
    `SELECT (SELECT count(*) FROM reservations) AS reservations, (SELECT count(*) FROM bookings) AS bookings,
            (SELECT count(*) FROM idempotency_keys) AS keys, (SELECT count(*) FROM events) AS events,
            (SELECT count(*) FROM sandbox_gateway.charges) AS charges,
            (SELECT json_object_agg(status, seats) FROM (SELECT status, count(*) AS seats FROM seats GROUP BY 1) AS _)
              AS seats`,
  );
  const keys = (await redis.keys('*')).filter((key) => !key.startsWith('event_map:')).sort();
  return { rows, keys, changes: await redis.xlen(`seat_changes:{${reservation.event_id}}`) };
}
let before: Awaited<ReturnType<typeof traces>>;
beforeEach(async () => (before = await traces()));
afterEach(async () => expect(await traces()).toEqual(before));

/** A request as bytes, after which the server is to close the connection. */
const send = (method: string, path: string, headers: string[] = [], body: string | Buffer = '') =>
  exchange(
    system.url,
    Buffer.concat([
      Buffer.from(
        [`${method} ${path} HTTP/1.1`, 'Host: box-office', 'Connection: close', ...headers, '', ''].join('\r\n'),
      ),
      Buffer.from(body),
    ]),
  );

const post = (path: string, body: string | Buffer, headers: string[] = ['Content-Type: application/json']) =>
  send('POST', `/api/v1${path}`, [...headers, `Content-Length: ${Buffer.byteLength(body)}`], body);

const LIMIT = 64 * 1024;
const nested = (open: string, innermost: string, close: string, bytes = LIMIT) => {
  const depth = Math.floor((bytes - innermost.length) / (open.length + close.length));
  return open.repeat(depth) + innermost + close.repeat(depth);
};

const paths = ({ body }: Reply<ProblemBody>) => [...new Set(body.errors?.map(({ path }) => path))].sort();

describe('a field that is wrong is named', () => {
  test.each<[string, (body: object) => object, string[]]>([
    ['nothing in it', () => ({}), ['event_id', 'seat_ids', 'user_id']],
    ['a field too many', (body) => ({ ...body, price: 1 }), ['price']],
    ['two fields too many', (body) => ({ ...body, price: 1, status: 'CONFIRMED' }), ['price', 'status']],
    ['a field too many and one too few', (body) => ({ ...body, user_id: undefined, a: 1 }), ['a', 'user_id']],
    [
      'every field of a wrong type',
      () => ({ event_id: 1, seat_ids: 'x', user_id: {} }),
      ['event_id', 'seat_ids', 'user_id'],
    ],
    [
      'null for every field',
      () => ({ event_id: null, seat_ids: null, user_id: null }),
      ['event_id', 'seat_ids', 'user_id'],
    ],
    [
      'seats of a wrong type',
      (body) => ({ ...body, seat_ids: ['a', 1, null, ['b']] }),
      ['seat_ids.1', 'seat_ids.2', 'seat_ids.3'],
    ],
    ['a number as a user', (body) => ({ ...body, user_id: 7 }), ['user_id']],
    ['a boolean as a user', (body) => ({ ...body, user_id: true }), ['user_id']],
    [
      'empty ids',
      (body) => ({ ...body, event_id: '', seat_ids: [''], user_id: '' }),
      ['event_id', 'seat_ids.0', 'user_id'],
    ],
    [
      'ids of 65 characters',
      (body) => ({ ...body, event_id: 'e'.repeat(65), seat_ids: ['s'.repeat(65)], user_id: 'u'.repeat(65) }),
      ['event_id', 'seat_ids.0', 'user_id'],
    ],
    ['an id of 60,000 characters', (body) => ({ ...body, user_id: 'u'.repeat(60_000) }), ['user_id']],
    ['no seats', (body) => ({ ...body, seat_ids: [] }), ['seat_ids']],
    ['11 seats', (body) => ({ ...body, seat_ids: Array.from({ length: 11 }, (_, n) => `seat-${n}`) }), ['seat_ids']],
    ['5,000 seats', (body) => ({ ...body, seat_ids: Array.from({ length: 5_000 }, (_, n) => `${n}`) }), ['seat_ids']],
    ['a seat twice', (body) => ({ ...body, seat_ids: ['a', 'b', 'a'] }), ['seat_ids']],
    [
      'NUL characters',
      (body) => ({ ...body, event_id: 'a\0', seat_ids: ['\0'], user_id: '\0' }),
      ['event_id', 'seat_ids.0', 'user_id'],
    ],
    ['lone surrogates', (body) => ({ ...body, seat_ids: ['\ud800'], user_id: 'a\udfff' }), ['seat_ids.0', 'user_id']],
    ['a lone surrogate as a field', (body) => ({ ...body, '\ud800': 1 }), ['\ud800']],
    ['an id with a blank', (body) => ({ ...body, user_id: 'a b' }), ['user_id']],
    ['an id with an emoji', (body) => ({ ...body, user_id: '🎟' }), ['user_id']],
    ['an id with a line break', (body) => ({ ...body, user_id: 'ann\n' }), ['user_id']],
  ])('POST /reservations with %s', async (_, change, wanted) => {
    const refused = await post('/reservations', JSON.stringify(change(reservation)));
    expectProblem(refused, 400, 'INVALID_REQUEST');
    expect(paths(refused)).toEqual(wanted);
  });

  test.each<[string, (body: object) => object, string[]]>([
    ['nothing in it', () => ({}), ['payment_token', 'reservation_id']],
    ['a field too many', (body) => ({ ...body, amount: 1 }), ['amount']],
    ['wrong types', () => ({ reservation_id: ['a'], payment_token: 1 }), ['payment_token', 'reservation_id']],
    ['empty fields', () => ({ reservation_id: '', payment_token: '' }), ['payment_token', 'reservation_id']],
    [
      'over-long fields',
      () => ({ reservation_id: 'r'.repeat(65), payment_token: 't'.repeat(256) }),
      ['payment_token', 'reservation_id'],
    ],
    ['NUL in the token', (body) => ({ ...body, payment_token: 'tok\0' }), ['payment_token']],
  ])('POST /bookings with %s', async (_, change, wanted) => {
    const refused = await post('/bookings', JSON.stringify(change(booking)));
    expectProblem(refused, 400, 'INVALID_REQUEST');
    expect(paths(refused)).toEqual(wanted);
  });

  test.each([
    ['/events?limit=0', 'limit'],
    ['/events?limit=101', 'limit'],
    ['/events?limit=x', 'limit'],
    ['/events?limit=1.5', 'limit'],
    ['/events?limit=-1', 'limit'],
    ['/events?limit=1e99', 'limit'],
    ['/events?limit=', 'limit'],
    ['/events?limit=1&limit=2', 'limit'],
    ['/events?cursor=x', 'cursor'],
    ['/events?cursor=', 'cursor'],
    ['/events?cursor=!!!', 'cursor'],
    [`/events?cursor=${'x'.repeat(1_000)}`, 'cursor'],
    [`/events?cursor=${Buffer.from('2030-01-01 a').toString('base64url')}`, 'cursor'],
    [`/events?cursor=${Buffer.from('+200000-01-01T00:00:00.000Z a').toString('base64url')}`, 'cursor'],
    [`/events?cursor=${Buffer.from('2030-01-01T00:00:00.000Z \0').toString('base64url')}`, 'cursor'],
    ['/events?from=yesterday', 'from'],
    ['/events?from=', 'from'],
    ['/events?from=2026-02-30', 'from'],
    ['/events?from=2026-02-30T00:00:00Z', 'from'],
    ['/events?from=2026-01-01T00:00:00', 'from'],
    ['/events?from=2026-01-01T24:00:00Z', 'from'],
    ['/events?from=2026-12-31T23:59:60Z', 'from'],
    ['/events?to=2026-13-01', 'to'],
    ['/events?to=1', 'to'],
    ['/events?to=2026-01-01%00', 'to'],
    ['/events?q=%00', 'q'],
    ['/events?q=%ff', 'querystring'],
    ['/events?q=100%', 'querystring'],
    ['/events?q=%e2%82', 'querystring'],
    [`/events?q=${'x'.repeat(101)}`, 'q'],
    ['/events?sort=date', 'sort'],
    ['/events?__proto__=1', '__proto__'],
    ['/events/demo-theatre/seats?show_time=now', 'show_time'],
    ['/events/demo-theatre/seats?show_time=2026-12-31T23:59:60Z', 'show_time'],
    ['/events/demo-theatre/seats?show=1', 'show'],
    ['/events/demo-theatre/seats/stream?last_event_id=x', 'last_event_id'],
    ['/events/%00', 'event_id'],
    ['/events/%0d%0aSet-Cookie:a', 'event_id'],
    ['/events/%F0%9F%8E%9F/seats', 'event_id'],
    [`/events/${'x'.repeat(65)}`, 'event_id'],
    ['/reservations/%20', 'reservation_id'],
    [`/bookings/${'x'.repeat(65)}`, 'booking_id'],
    ['/sandbox/charges', 'reservation_id'],
    ['/sandbox/charges?reservation_id=%00', 'reservation_id'],
  ])('GET %s', async (path, wanted) => {
    const refused = await send('GET', `/api/v1${path}`);
    expectProblem(refused, 400, 'INVALID_REQUEST');
    expect(paths(refused)).toEqual([wanted]);
  });

  test.each(['', 'k'.repeat(256), 'with blank', 'k\u00fc'])('Idempotency-Key "%s"', async (key) => {
    const header = ['Content-Type: application/json', `Idempotency-Key: ${key}`];
    for (const refused of [
      await post('/reservations', JSON.stringify(reservation), header),
      await post('/bookings', JSON.stringify(booking), header),
    ]) {
      expectProblem(refused, 400, 'INVALID_REQUEST');
      expect(paths(refused)).toEqual(['idempotency-key']);
    }
  });
});

describe('a body that is no JSON object of the right kind', () => {
  const seatAsBytes = (bytes: number[]) =>
    Buffer.concat([
      Buffer.from('{"event_id":"demo-theatre","seat_ids":["'),
      Buffer.from(bytes),
      Buffer.from('"],"user_id":"ann"}'),
    ]);

  test.each<[string, string | Buffer]>([
    ['empty', ''],
    ['blank', '   '],
    ['not JSON', 'event_id=demo-theatre'],
    ['cut off', '{"event_id":"demo-theatre"'],
    ['followed by more', '{} {}'],
    ['null', 'null'],
    ['a string', '"demo-theatre"'],
    ['a number', '1e400'],
    ['an array', '[]'],
    ['NaN', '{"event_id":NaN}'],
    ['with a byte order mark', '\ufeff{}'],
    ['UTF-16', Buffer.from('{"event_id":"demo-theatre"}', 'utf16le')],
    ['with a byte that is no UTF-8', seatAsBytes([0xff])],
    ['with a cut-off UTF-8 character', seatAsBytes([0xe2, 0x82])],
    ['with an over-long UTF-8 form', seatAsBytes([0xc0, 0xaf])],
    ['with a surrogate as UTF-8', seatAsBytes([0xed, 0xa0, 0x80])],
    ['with a raw NUL', seatAsBytes([0])],
    ['with __proto__', '{"__proto__":{"event_id":"demo-theatre"},"seat_ids":["a"],"user_id":"ann"}'],
    ['with constructor.prototype', '{"constructor":{"prototype":{"event_id":"demo-theatre"}}}'],
    ['64 KiB of nested arrays', nested('[', '', ']')],
    ['64 KiB of nested objects', nested('{"a":', '1', '}')],
    ['64 KiB of arrays that never close', '['.repeat(LIMIT)],
    ['seats nested 64 KiB deep', `{"event_id":"a","user_id":"a","seat_ids":${nested('[', '"a"', ']', LIMIT - 50)}}`],
    [
      'an event nested 64 KiB deep',
      `{"seat_ids":["a"],"user_id":"a","event_id":${nested('{"a":', '1', '}', LIMIT - 50)}}`,
    ],
    ['64 KiB of small seats', `{"event_id":"a","user_id":"a","seat_ids":[${'1,'.repeat(32_000)}1]}`],
    ['64 KiB of unknown fields', `{${Array.from({ length: 6_000 }, (_, n) => `"a${n}":1`).join()}}`],
  ])('is refused: %s', async (_, body) => {
    for (const path of ['/reservations', '/bookings']) {
      const asked = performance.now();
      const refused = await post(path, body);
      expectProblem(refused, 400, 'INVALID_REQUEST');
      expect(refused.body.errors?.[0]?.path).toMatch(/./);
      expect(performance.now() - asked, 'milliseconds').toBeLessThan(2_000);
    }
  });

  test.each([
    ['text/plain', 415],
    ['application/x-www-form-urlencoded', 415],
    ['application/jsonp', 415],
    ['multipart/form-data; boundary=x', 415],
    ['nonsense', 415],
    ['', 415],
  ])('a body of type "%s" is a %i', async (type, status) =>
    expectProblem(
      await post('/reservations', JSON.stringify(reservation), [`Content-Type: ${type}`]),
      status,
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  );

  test('a body without a type is a 415', async () =>
    expectProblem(await post('/reservations', JSON.stringify(reservation), []), 415, 'UNSUPPORTED_MEDIA_TYPE'));

  test('a compressed body is refused', async () => {
    const headers = ['Content-Type: application/json', 'Content-Encoding: gzip'];
    const { gzipSync } = await import('node:zlib');
    expectProblem(await post('/reservations', gzipSync(JSON.stringify(reservation)), headers), 400, 'INVALID_REQUEST');
  });

  test('a body over 64 KiB is a 413, with a length and without', async () => {
    const body = JSON.stringify({ ...reservation, user_id: 'u'.repeat(LIMIT) });
    expectProblem(await post('/reservations', body), 413, 'BODY_TOO_LARGE');
    const chunked = ['Content-Type: application/json', 'Transfer-Encoding: chunked'];
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    expectProblem(await send('POST', '/api/v1/reservations', chunked, chunk), 413, 'BODY_TOO_LARGE');
  });
});

describe('a request that goes nowhere', () => {
  test.each([
    ['GET', '/nothing'],
    ['GET', '/'],
    ['GET', '/api/v1'],
    ['GET', '/api/v2/events'],
    ['GET', '/api/v1/Events'],
    ['GET', '/api/v1//events'],
    ['GET', '/api/v1/../../etc/passwd'],
    ['GET', '/api/v1/events/a/b'],
  ])('%s %s is a 404', async (method, path) => expectProblem(await send(method, path), 404, 'NOT_FOUND'));

  test.each([
    ['DELETE', '/api/v1/events', 'GET, HEAD'],
    ['POST', '/api/v1/events/demo-theatre', 'GET, HEAD'],
    ['PUT', '/api/v1/events/demo-theatre/seats', 'GET, HEAD'],
    ['PATCH', '/api/v1/reservations/res_1', 'DELETE, GET, HEAD'],
    ['GET', '/api/v1/reservations', 'POST'],
    ['GET', '/api/v1/bookings', 'POST'],
    ['OPTIONS', '/api/v1/bookings', 'POST'],
    ['POST', '/livez', 'GET, HEAD'],
  ])('%s %s is a 405 that says what is allowed', async (method, path, allowed) => {
    const refused = await send(method, path);
    expectProblem(refused, 405, 'METHOD_NOT_ALLOWED');
    expect(refused.headers.get('allow')).toBe(allowed);
  });

  test.each([
    '/api/v1/events/%zz',
    '/api/v1/events/%',
    '/api/v1/events/%ff',
    '/api/v1/events/%c0%af',
    '/api/v1/events/%ed%a0%80',
  ])('%s, which is no URL, is a 400', async (path) => {
    const refused = await send('GET', path);
    expectProblem(refused, 400, 'INVALID_REQUEST');
    expect(refused.body.errors).toMatchObject([{ path: 'url' }]);
  });

  test.each([65, 101, 1_000, 8_000])('an id of %i characters in a path is a 400 that names it', async (length) => {
    const refused = await send('GET', `/api/v1/events/${'x'.repeat(length)}`);
    expectProblem(refused, 400, 'INVALID_REQUEST');
    expect(refused.body.errors).toMatchObject([{ path: 'event_id' }]);
  });
});

describe('what is hardly HTTP', () => {
  const malformed = (lines: string[]) => exchange(system.url, [...lines, '', ''].join('\r\n'));

  test.each([
    ['no HTTP at all', ['\x16\x03\x01']],
    ['an unknown method', ['FOO / HTTP/1.1', 'Host: a', 'Connection: close']],
    ['an unknown version', ['GET / HTTP/9.9', 'Host: a']],
    ['no Host', ['GET /livez HTTP/1.1', 'Connection: close']],
    ['a header that is none', ['GET /livez HTTP/1.1', 'Host: a', 'no colon']],
    ['a NUL in a header', ['GET /livez HTTP/1.1', 'Host: a', 'X: \0']],
    ['two lengths', ['POST /api/v1/bookings HTTP/1.1', 'Host: a', 'Content-Length: 1', 'Content-Length: 2']],
    [
      'a length and chunks',
      ['POST /api/v1/bookings HTTP/1.1', 'Host: a', 'Content-Length: 1', 'Transfer-Encoding: chunked'],
    ],
    ['a length that is none', ['POST /api/v1/bookings HTTP/1.1', 'Host: a', 'Content-Length: x']],
    ['a blank in the path', ['GET /livez ?a HTTP/1.1', 'Host: a']],
  ])('%s is a 400', async (_, lines) => expectProblem(await malformed(lines), 400, 'INVALID_REQUEST'));

  test.each([
    ['headers of 20 KB', ['GET /livez HTTP/1.1', 'Host: a', `X-Long: ${'x'.repeat(20_000)}`]],
    ['a path of 20 KB', [`GET /${'x'.repeat(20_000)} HTTP/1.1`, 'Host: a']],
  ])('%s are a 431', async (_, lines) => expectProblem(await malformed(lines), 431, 'HEADERS_TOO_LARGE'));
});

test('an expectation that nobody knows is ignored', async () => {
  const refused = await post('/bookings', JSON.stringify({ ...booking, reservation_id: 'res_0' }), [
    'Content-Type: application/json',
    'Expect: a-miracle',
  ]);
  expectProblem(refused, 404, 'RESERVATION_NOT_FOUND');
});

test.each([
  'wait',
  'wait=',
  'wait=x',
  'wait=-1',
  'wait=1.5',
  'foo="a, wait=30"',
  'foo; wait=30',
  ';;;,,,',
  'wait=99999999999999999999',
  '\u00fc'.repeat(100),
])('a Prefer that cannot be read ("%s") is ignored', async (prefer) => {
  const refused = await post('/bookings', JSON.stringify({ ...booking, reservation_id: 'res_0' }), [
    'Content-Type: application/json',
    `Prefer: ${prefer}`,
  ]);
  expectProblem(refused, 404, 'RESERVATION_NOT_FOUND');
});
