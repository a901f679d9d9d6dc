/** Seats that are taken, asked for as fast as can be; F1's refusals beside them. */
import { setTimeout as delay } from 'node:timers/promises';
import { closedLoop, createClient, type Client } from './load.ts';
import type { Product } from './product.ts';
import { STADIUM, stadiumSeat } from './scenarios.ts';

const CLIENTS = 32;
const SECONDS = 6;
const TAKEN_PAIRS = 100;
const FIRST_SEAT = 20_000;
/** PostgreSQL tells the statistics of an idle session after ten seconds. */
const STATISTICS_MS = 10_500;

export async function refusals({ stage, api, database }: Product) {
  const floors = await stage.run('bench/floors.js');
  const holder = createClient(api.url);
  const taken = Array.from({ length: TAKEN_PAIRS }, (_, n) => [0, 1].map((i) => stadiumSeat(FIRST_SEAT + 2 * n + i)));
  for (const seat_ids of taken) {
    await holder.call('POST', '/api/v1/reservations', { event_id: STADIUM.event_id, seat_ids, user_id: 'holder' });
  }
  let n = 0;
  const statements = async () => {
    const { rows } = await database.query<{ xact_commit: string }>(
      `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`,
    );
    return Number(rows[0]?.xact_commit);
  };
  const ask = (client: Client, path: string) => async () => {
    const seat_ids = taken[n++ % taken.length];
    await client.call('POST', path, { event_id: STADIUM.event_id, seat_ids, user_id: 'late' });
  };
  await delay(STATISTICS_MS);
  const before = await statements();
  const ours = await closedLoop(CLIENTS, SECONDS, ask(holder, '/api/v1/reservations'));
  await delay(STATISTICS_MS);
  const postgres_statements = (await statements()) - before;
  holder.close();
  const floor = createClient(floors.url);
  const f1 = await closedLoop(CLIENTS, SECONDS, ask(floor, '/f1'));
  floor.close();
  await floors.stop();
  return { per_second: ours, f1_per_second: f1, ratio_to_f1: ours / f1, postgres_statements };
}
