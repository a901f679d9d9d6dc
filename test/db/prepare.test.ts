import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { prepareDatabase } from '../../db/prepare.ts';
import { runOnServer } from '../support/on-server.ts';

const MIGRATIONS = new URL('../../db/migrations', import.meta.url);

const onServer = (database: string) =>
  Object.assign(new URL(inject('template_database_url')), { pathname: `/${database}` }).href;

const open: pg.Client[] = [];
afterAll(() => Promise.all(open.map((client) => client.end())));

async function connect(databaseUrl: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  open.push(client);
  return client;
}

/** A new database without a table in it. */
async function emptyDatabase(): Promise<{ url: string; client: pg.Client }> {
  const name = `empty_${randomBytes(6).toString('hex')}`;
  await runOnServer(onServer(name), `CREATE DATABASE ${name}`);
  return { url: onServer(name), client: await connect(onServer(name)) };
}

async function eventIds(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ event_id: string }>('SELECT event_id FROM events ORDER BY date');
  return rows.map(({ event_id }) => event_id);
}

/** Of every seat id with its place and price: the same digest means the same seats. */
async function seatsDigest(client: pg.Client): Promise<unknown> {
  const { rows } = await client.query(
    `SELECT event_id, count(*)::int AS seats,
            md5(string_agg(concat_ws(' ', seat_id, section, "row", number, x, y, price), ',' ORDER BY seat_id))
     FROM seats GROUP BY event_id ORDER BY event_id`,
  );
  return rows;
}

test('five processes at once migrate an empty database once and seed it once', async () => {
  const { url, client } = await emptyDatabase();
  await Promise.all(Array.from({ length: 5 }, () => prepareDatabase(url, 'auto')));
  const { rows } = await client.query(
    'SELECT name, count(*)::int AS times FROM migrations GROUP BY name ORDER BY name',
  );
  const migrations = (await readdir(MIGRATIONS)).sort();
  expect(rows).toEqual(migrations.map((file) => ({ name: file.replace('.sql', ''), times: 1 })));
  expect(await eventIds(client)).toEqual(['demo-theatre', 'demo-stadium']);
  const totals = await client.query('SELECT event_id, seats_total FROM events ORDER BY event_id');
  expect(totals.rows).toEqual([
    { event_id: 'demo-stadium', seats_total: 50_000 },
    { event_id: 'demo-theatre', seats_total: 1_200 },
  ]);
});

test('the demo seats have the same ids in every database, and keep them', async () => {
  const [one, other] = await Promise.all([emptyDatabase(), emptyDatabase()]);
  await Promise.all([prepareDatabase(one.url, 'auto'), prepareDatabase(other.url, 'on')]);
  const first = await seatsDigest(one.client);
  expect(await seatsDigest(other.client)).toEqual(first);
  await prepareDatabase(one.url, 'on');
  expect(await seatsDigest(one.client)).toEqual(first);
});

describe('demo events', () => {
  test.each(['off', 'false', '0'] as const)('are left out with SEED_EVENTS=%s', async (seed) => {
    const { url, client } = await emptyDatabase();
    await prepareDatabase(url, seed);
    expect(await eventIds(client)).toEqual([]);
  });

  test('are added only with SEED_EVENTS=on, true or 1 to a database that has an event', async () => {
    const { url, client } = await emptyDatabase();
    await prepareDatabase(url, 'off');
    await client.query(`INSERT INTO events (event_id, name, date) VALUES ('own', 'Our own', '2020-01-01')`);
    await prepareDatabase(url, 'auto');
    expect(await eventIds(client)).toEqual(['own']);
    for (const seed of ['on', 'true', '1'] as const) {
      await prepareDatabase(url, seed);
      expect(await eventIds(client)).toEqual(['own', 'demo-theatre', 'demo-stadium']);
      await client.query(`DELETE FROM seats WHERE event_id LIKE 'demo-%'`);
      await client.query(`DELETE FROM events WHERE event_id LIKE 'demo-%'`);
    }
  });
});

describe('the version of a layout', () => {
  let client: pg.Client;
  beforeAll(async () => {
    const database = await emptyDatabase();
    const dir = fileURLToPath(MIGRATIONS);
    const before = { dir, direction: 'up', migrationsTable: 'migrations', count: 5, log: () => undefined } as const;
    await runner({ ...before, dbClient: database.client });
    await database.client.query(
      `INSERT INTO events (event_id, name, date, layout_version) VALUES ('old', 'Old', '2020-01-01', 41)`,
    );
    await prepareDatabase(database.url, 'off');
    ({ client } = database);
    await client.query(
      `INSERT INTO events (event_id, name, date) VALUES ('a', 'A', '2020-01-01'), ('b', 'B', '2020-01-01');
       INSERT INTO seats (seat_id, event_id) SELECT concat('a-', n), 'a' FROM generate_series(1, 3) AS n;
       INSERT INTO seats (seat_id, event_id) VALUES ('b-1', 'b')`,
    );
  });

  interface Event {
    event_id: string;
    seats_total: number;
    layout_version: number;
  }
  const look = async () => {
    const columns = 'event_id, seats_total, layout_version';
    const { rows } = await client.query<Event>(`SELECT ${columns} FROM events ORDER BY event_id`);
    return rows;
  };
  const changedBy = async (statements: string) => {
    const before = await look();
    await client.query(statements);
    const after = await look();
    return after.filter((event, n) => event.layout_version !== before[n]?.layout_version).map((it) => it.event_id);
  };

  test('is one that no event had before', async () => {
    const versions = (await look()).map(({ layout_version }) => layout_version);
    expect(new Set(versions).size).toBe(3);
    expect(Math.min(...versions)).toBe(41);
    expect(await changedBy(`UPDATE events SET currency = 'USD' WHERE event_id = 'old'`)).toEqual(['old']);
    const now = (await look()).map(({ layout_version }) => layout_version);
    expect(Math.min(...now)).toBeGreaterThan(41);
    expect(new Set(now).size).toBe(3);
  });

  test('changes in both events when a seat goes from one to the other, and both are counted anew', async () => {
    const totals = async () => (await look()).slice(0, 2).map(({ seats_total }) => seats_total);
    expect(await changedBy(`UPDATE seats SET event_id = 'b' WHERE seat_id IN ('a-1', 'a-2')`)).toEqual(['a', 'b']);
    expect(await totals()).toEqual([1, 3]);
    const exchange = `UPDATE seats SET event_id = CASE event_id WHEN 'a' THEN 'b' ELSE 'a' END
                      WHERE seat_id IN ('a-3', 'b-1')`;
    expect(await changedBy(exchange)).toEqual(['a', 'b']);
    expect(await totals()).toEqual([1, 3]);
    const oneByOne = ['a-1', 'a-2'].map((id) => `UPDATE seats SET price = 1, event_id = 'a' WHERE seat_id = '${id}'`);
    expect(await changedBy(oneByOne.join(';'))).toEqual(['a', 'b']);
    expect(await totals()).toEqual([3, 1]);
  });

  test('changes when a seat gets another id, and not when it is held', async () => {
    expect(await changedBy(`UPDATE seats SET seat_id = 'a-9' WHERE seat_id = 'a-1'`)).toEqual(['a']);
    expect(await changedBy(`UPDATE seats SET status = 'HELD', reservation_id = 'res_1', fence = 1`)).toEqual([]);
  });
});

describe('storage', () => {
  let client: pg.Client;
  beforeAll(async () => {
    const database = await emptyDatabase();
    await prepareDatabase(database.url, 'on');
    ({ client } = database);
  });

  test.each([
    ['events', 'event_id', 'character varying', 64],
    ['events', 'name', 'character varying', 200],
    ['events', 'date', 'timestamp with time zone', null],
    ['seats', 'seat_id', 'character varying', 64],
    ['seats', 'event_id', 'character varying', 64],
    ['seats', 'row', 'character varying', 16],
    ['seats', 'number', 'integer', null],
    ['seats', 'status', 'character varying', 16],
    ['bookings', 'booking_id', 'character varying', 64],
    ['bookings', 'user_id', 'character varying', 64],
    ['bookings', 'price', 'integer', null],
    ['bookings', 'status', 'character varying', 16],
  ])('has %s.%s of type %s (%s)', async (table, column, type, length) => {
    const { rows } = await client.query(
      `SELECT data_type AS type, character_maximum_length AS length FROM information_schema.columns
       WHERE table_schema = 'public' AND table_name = $1 AND column_name = $2`,
      [table, column],
    );
    expect(rows).toEqual([{ type, length }]);
  });

  test.each([
    ['PRIMARY KEY', 'events', '(event_id)'],
    ['PRIMARY KEY', 'seats', '(seat_id)'],
    ['PRIMARY KEY', 'bookings', '(booking_id)'],
    ['FOREIGN KEY', 'seats', '(event_id) REFERENCES events(event_id)'],
  ])('has the %s of %s: %s', async (kind, table, columns) => {
    const { rows } = await client.query<{ definition: string }>(
      `SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = $1::regclass`,
      [table],
    );
    expect(rows.map(({ definition }) => definition)).toContain(`${kind} ${columns}`);
  });

  test.each([
    ['events', '(date'],
    ['seats', '(event_id, status)'],
  ])('has an index on %s%s', async (table, columns) => {
    const { rows } = await client.query<{ indexdef: string }>(
      `SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = $1`,
      [table],
    );
    expect(rows.map(({ indexdef }) => indexdef).join('\n')).toContain(` USING btree ${columns}`);
  });

  test.each([
    [
      'seats',
      'AVAILABLE HELD BOOKED',
      `INSERT INTO seats (seat_id, event_id, status) VALUES ('s', 'demo-theatre', $1)`,
    ],
    [
      'bookings',
      'PENDING CONFIRMED FAILED',
      `INSERT INTO bookings (booking_id, user_id, price, status) VALUES ('b', 'u', 1, $1)`,
    ],
  ])('takes in %s.status %s and nothing else', async (_table, statuses, insert) => {
    for (const status of statuses.split(' ')) {
      await client.query('BEGIN');
      await client.query(insert, [status]);
      await client.query('ROLLBACK');
    }
    await expect(client.query(insert, ['SOLD'])).rejects.toMatchObject({ code: '23514' });
  });
});
