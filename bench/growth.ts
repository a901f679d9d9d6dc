/** How the figures grow: with API and worker processes, with events on sale at once, and with the seats of an event. */
import type { Pool } from 'pg';
import { cpuMsPerOperation, cpuSeconds } from './cpu.ts';
import { closedLoop, createClient, openLoop } from './load.ts';
import { openProduct, sweep } from './product.ts';
import { ReaderPool } from './reader.ts';
import type { Part } from './stage.ts';
import { latenciesByKind } from './stats.ts';

const PROCESSES = [1, 2, 4];
const EVENTS = [1, 10, 100];
const SEATS = [1_000, 10_000, 50_000];
const GRANTS_PER_SECOND = 24;
const SECONDS = 8;
const HOLD_SECONDS = '20';
const CLOSED_SECONDS = 3;
const CLIENTS = 32;

interface Sale {
  name: string;
  events: number;
  seats: number;
}

async function addEvents(database: Pool, { name, events, seats }: Sale): Promise<string[]> {
  const ids = Array.from({ length: events }, (_, n) => `${name}-${n}`);
  await database.query(
    `INSERT INTO events (event_id, name, date) SELECT id, id, now() + interval '30 days' FROM unnest($1::text[]) AS id`,
    [ids],
  );
  await database.query(
    `INSERT INTO seats (seat_id, event_id, section, "row", number, price)
     SELECT id || '-' || n, id, 'stalls', (n / 50)::text, n % 50, 5000
     FROM unnest($1::text[]) AS id, generate_series(0, $2 - 1) AS n`,
    [ids, seats],
  );
  return ids;
}

/** Turns about. */
function inTurn<T>(all: T[], n: number): T {
  const one = all[n % all.length];
  if (one === undefined) throw new RangeError('nobody to take a turn');
  return one;
}

/** The same grants a second, over all events and all APIs in turn; then refusals and maps, as many as can be. */
async function measure(pids: Record<string, number>, apis: Part[], events: string[]) {
  const clients = apis.map(({ url }) => createClient(url));
  const ask = async (n: number, seat: number) => {
    const event_id = inTurn(events, n);
    const body = { event_id, seat_ids: [seat, seat + 1].map((it) => `${event_id}-${it}`), user_id: `buyer-${n}` };
    return String((await inTurn(clients, n).call('POST', '/api/v1/reservations', body)).status);
  };
  const before = cpuSeconds(pids);
  const attempts = await openLoop({
    per_second: GRANTS_PER_SECOND,
    seconds: SECONDS,
    send: (n) => ask(n, 2 * Math.floor(n / events.length)),
  });
  const cpu_ms_per_grant = cpuMsPerOperation(before, cpuSeconds(pids), attempts.length);
  let n = 0;
  const refusals_per_second = await closedLoop(CLIENTS, CLOSED_SECONDS, () => ask(n++, 0));
  for (const client of clients) client.close();
  const map = `/api/v1/events/${inTurn(events, 0)}/seats`;
  const pools = apis.map(({ url }) => new ReaderPool({ url: new URL(map, url), conditional: false }));
  const maps_per_second = await closedLoop(CLIENTS, CLOSED_SECONDS, () => inTurn(pools, n++).read());
  for (const pool of pools) pool.close();
  return { attempts: latenciesByKind(attempts), cpu_ms_per_grant, refusals_per_second, maps_per_second };
}

/** All cases on the same services, one after the other, each with events of its own. */
export async function growth(progress: (line: string) => void) {
  const product = await openProduct(progress, HOLD_SECONDS);
  const { stage, database, api } = product;
  const apis = [api];
  const others: Part[] = [];
  const results: Record<string, unknown> = {};

  async function add(name: string, using: Part[], sale: Sale): Promise<void> {
    const events = await addEvents(database, sale);
    const pids = {
      ...product.pids,
      ...Object.fromEntries([...using.slice(1), ...others].map(({ pid }) => [pid, pid])),
    };
    const result = await measure(pids, using, events);
    results[name] = result;
    progress(`  ${name}: ${JSON.stringify(result)}`);
    await sweep(product);
  }

  for (const events of EVENTS) await add(`${events} events`, apis, { name: `of-${events}`, events, seats: 500 });
  for (const seats of SEATS) await add(`${seats} seats`, apis, { name: `big-${seats}`, events: 1, seats });
  for (const processes of PROCESSES) {
    for (; apis.length < processes;) {
      apis.push(await stage.run('api/server.js', { HOLD_SECONDS }));
      others.push(await stage.run('worker/main.js'));
    }
    await add(`${processes} API and worker processes`, apis, { name: `by-${processes}`, events: 1, seats: 1_000 });
  }
  for (const part of [...apis.slice(1), ...others]) await part.stop();
  await product.close();
  return results;
}
