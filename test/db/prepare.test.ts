import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
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
