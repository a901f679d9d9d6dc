/**
 * `npm run bench`: measures the product against its floors, in one run on one machine, and looks after every scenario
 * whether anything was lost. `npm run bench -- knee flash` runs some of the scenarios.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { Client as TemporalClient, Connection } from '@temporalio/client';
import { Redis } from 'ioredis';
import pg from 'pg';
import { NO_FAULTS, findFaults } from '../audit/sweep.ts';
import { prepareDatabase } from '../db/prepare.ts';
import { latencyChart } from './chart.ts';
import { cpuMsPerOperation, cpuSeconds, residentMb } from './cpu.ts';
import { flash } from './flash.ts';
import { closedLoop, createClient, openLoop, type Client } from './load.ts';
import { ReaderPool } from './reader.ts';
import { STADIUM, findKnee, freshPairs, offer, stadiumSeat, type Target } from './scenarios.ts';
import { openStage, type Part, type Stage } from './stage.ts';
import { latenciesByKind, latenciesOf } from './stats.ts';
import { expiryStorm } from './storm.ts';
import { watch } from './viewers.ts';

const OUT = 'docs/bench';
const RATES = [20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 240, 280];
const FLASH_PER_SECOND = 333;
const FLASH_SECONDS = Number(process.env['FLASH_SECONDS'] ?? 60);
const MAPS_PER_SECOND = 10_000;
const SETTLED_WITHIN_MS = 120_000;

const progress = (line: string) => console.error(line);

interface Bench {
  stage: Stage;
  api: Part;
  worker: Part;
  database: pg.Pool;
  redis: Redis;
  pids: Record<string, number>;
}

const seatsPath = `/api/v1/events/${STADIUM.event_id}/seats`;

async function open(): Promise<Bench> {
  const stage = await openStage(progress);
  await prepareDatabase(stage.services.database_url, 'on');
  const worker = await stage.run('worker/main.js');
  const api = await stage.run('api/server.js', { HOLD_SECONDS: '20' });
  return {
    stage,
    api,
    worker,
    database: new pg.Pool({ connectionString: stage.services.database_url, max: 20 }),
    redis: new Redis(stage.services.redis_url),
    pids: { ...stage.pids, api: api.pid, worker: worker.pid },
  };
}

/** Waits until every workflow has ended, then looks for what must not be there. The run fails where there is any. */
async function sweep({ stage, database, redis }: Bench): Promise<void> {
  const connection = await Connection.connect({ address: stage.services.temporal_address });
  const { workflow } = new TemporalClient({ connection });
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  const isSettled = async () =>
    (await workflow.count(`ExecutionStatus = 'Running'`)).count === 0 &&
    (await database.query(`SELECT 1 FROM reservations WHERE status = 'HELD' LIMIT 1`)).rowCount === 0 &&
    JSON.stringify(await findFaults({ database, redis })) === JSON.stringify(NO_FAULTS);
  while (!(await isSettled())) {
    if (Date.now() > deadline) throw new Error(`not clean: ${JSON.stringify(await findFaults({ database, redis }))}`);
    await delay(500);
  }
  await connection.close();
  progress('  swept: nothing double, nothing lost, nothing stuck');
}

const product = ({ api, pids }: Bench): Target => ({ url: api.url, path: '/api/v1/reservations', pids });

const KNEE_HOLD_SECONDS = '600'; // no timer fires into the measurement

/** (a), each on services of its own: what one left open would slow down the next. */
async function knee() {
  const nextSeats = freshPairs();
  const alone = async <T>(program: string, measure: (part: Part, pids: Record<string, number>) => Promise<T>) => {
    const stage = await openStage(progress);
    await prepareDatabase(stage.services.database_url, 'on');
    const part = await stage.run(program, { HOLD_SECONDS: KNEE_HOLD_SECONDS });
    const result = await measure(part, { ...stage.pids, node: part.pid });
    await part.stop();
    await stage.stop();
    return result;
  };
  const floor = (path: string) =>
    alone('bench/floors.js', ({ url }, pids) => findKnee({ url, path, pids }, RATES, nextSeats, progress));
  const f2 = await floor('/f2');
  const ours = await alone('api/server.js', ({ url }, pids) =>
    findKnee({ url, path: '/api/v1/reservations', pids }, RATES, nextSeats, progress),
  );
  const f3 = await floor('/f3');
  const f1 = await alone('bench/floors.js', ({ url }, pids) =>
    offer({ url, path: '/f1', pids }, FLASH_PER_SECOND, 8, nextSeats),
  );
  return { f1: f1.step, f2, f3, ours, ratio_to_f2: ours.granted_per_second / Math.max(1, f2.granted_per_second) };
}

/** (b) and (e), and (d) beside them: 1,000 live viewers, and as many map reads as are asked for. */
async function flashWithReaders(bench: Bench, mapsPerSecond: number, viewers: number) {
  const { api, pids } = bench;
  const client = createClient(api.url);
  const live = await watch(new URL(`${seatsPath}/stream`, api.url), viewers);
  const readers = new ReaderPool(new URL(seatsPath, api.url), { 'accept-encoding': 'br' });
  const before = cpuSeconds(pids);
  const reading = mapsPerSecond
    ? openLoop({ per_second: mapsPerSecond, seconds: FLASH_SECONDS, send: () => readers.read() })
    : Promise.resolve([]);
  const { attempts, decisions } = await flash(client, FLASH_PER_SECOND, FLASH_SECONDS);
  const reads = await reading;
  const cpu = cpuMsPerOperation(before, cpuSeconds(pids), attempts.filter(({ kind }) => kind === '201').length);
  const memory_mb = residentMb(pids);
  live.close();
  readers.close();
  client.close();
  await writeFile(
    `${OUT}/flash-${mapsPerSecond}-maps-${viewers}-viewers.svg`,
    latencyChart('Flash, 333 attempts/s', attempts),
  );
  return {
    attempts: latenciesByKind(attempts),
    decisions: latenciesByKind(decisions),
    live: latenciesByKind(live.samples),
    maps: latenciesByKind(reads),
    cpu_ms_per_grant: cpu,
    memory_mb,
  };
}

/** (c): seats that are taken, asked for as fast as can be; F1 beside it. */
async function refusals(bench: Bench) {
  const floors = await bench.stage.run('bench/floors.js');
  const holder = createClient(bench.api.url);
  const taken = Array.from({ length: 100 }, (_, n) => [stadiumSeat(20_000 + 2 * n), stadiumSeat(20_001 + 2 * n)]);
  for (const seat_ids of taken) {
    await holder.call('POST', '/api/v1/reservations', { event_id: STADIUM.event_id, seat_ids, user_id: 'holder' });
  }
  let n = 0;
  const statements = async () =>
    Number(
      (await bench.database.query(`SELECT xact_commit FROM pg_stat_database WHERE datname = 'holdfast'`)).rows[0]
        ?.xact_commit,
    );
  const ask = (client: Client, path: string) => async () => {
    const seat_ids = taken[n++ % taken.length];
    await client.call('POST', path, { event_id: STADIUM.event_id, seat_ids, user_id: 'late' });
  };
  const statementsBefore = await statements();
  const ours = await closedLoop(32, 6, ask(holder, '/api/v1/reservations'));
  await delay(1_500);
  const postgres_statements = (await statements()) - statementsBefore;
  holder.close();
  const floor = createClient(floors.url);
  const f1 = await closedLoop(32, 6, ask(floor, '/f1'));
  floor.close();
  await floors.stop();
  return { per_second: ours, f1_per_second: f1, ratio_to_f1: ours / f1, postgres_statements };
}

/** (d): maps in full, conditional and compact, beside a static handler that sends the same bytes. */
async function maps(bench: Bench) {
  const floors = await bench.stage.run('bench/floors.js', { STATIC_URL: `${bench.api.url}${seatsPath}` });
  const response = await fetch(`${bench.api.url}${seatsPath}`, { headers: { 'accept-encoding': 'br' } });
  await response.arrayBuffer();
  const etag = response.headers.get('etag') ?? '';
  const forms: Record<string, { url: URL; headers: Record<string, string> }> = {
    static_br: { url: new URL('/static', floors.url), headers: { 'accept-encoding': 'br' } },
    full_br: { url: new URL(seatsPath, bench.api.url), headers: { 'accept-encoding': 'br' } },
    static_304: { url: new URL('/static', floors.url), headers: { 'if-none-match': etag } },
    full_304: { url: new URL(seatsPath, bench.api.url), headers: { 'accept-encoding': 'br', 'if-none-match': etag } },
    compact_br: { url: new URL(`${seatsPath}?format=compact`, bench.api.url), headers: { 'accept-encoding': 'br' } },
  };
  const results: Record<string, unknown> = {};
  for (const [name, { url, headers }] of Object.entries(forms)) {
    const pool = new ReaderPool(url, headers);
    const most = await closedLoop(32, 5, () => pool.read());
    const steady = await openLoop({ per_second: MAPS_PER_SECOND, seconds: 5, send: () => pool.read() });
    pool.close();
    results[name] = { most_per_second: most, at_10000_per_second: latenciesByKind(steady) };
    progress(`  ${name}: ${most}/s, at 10,000/s p99 ${latenciesOf(steady).p99} ms`);
  }
  await floors.stop();
  return results;
}

/** (g): three times the knee. */
async function overload(bench: Bench, kneePerSecond: number) {
  const nextSeats = freshPairs();
  const { step, samples } = await offer(product(bench), Math.round(kneePerSecond * 3), FLASH_SECONDS, nextSeats);
  await writeFile(`${OUT}/overload.svg`, latencyChart('Overload, three times the knee', samples));
  await delay(2_000);
  const after = await offer(product(bench), Math.round(kneePerSecond / 2), 5, nextSeats);
  return { during: step, goodput_ratio: step.granted_per_second / kneePerSecond, two_seconds_later: after.step };
}

const wanted = process.argv.slice(2);
const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name);
const report: Record<string, unknown> = { at: new Date().toISOString(), node: process.version };

await mkdir(OUT, { recursive: true });
const bench = await open();
let kneePerSecond = Number(process.env['KNEE'] ?? 60);

const scenarios: Record<string, () => Promise<unknown>> = {
  knee: async () => {
    const result = await knee();
    kneePerSecond = result.ours.granted_per_second;
    return result;
  },
  refusals: () => refusals(bench),
  maps: () => maps(bench),
  flash: () => flashWithReaders(bench, 0, 0),
  'flash-with-viewers': () => flashWithReaders(bench, 0, 1_000),
  'flash-with-maps': () => flashWithReaders(bench, MAPS_PER_SECOND, 0),
  storm: async () => ({
    last_seat_free_after_ms: await expiryStorm(bench.stage.services.temporal_address, bench.database, 2_000),
  }),
  overload: () => overload(bench, kneePerSecond),
};

for (const [name, run] of Object.entries(scenarios)) {
  if (!isWanted(name)) continue;
  progress(`${name} …`);
  report[name] = await run();
  console.log(name, JSON.stringify(report[name], null, 1));
  await sweep(bench);
}
await writeFile(`${OUT}/report.json`, `${JSON.stringify(report, null, 2)}\n`);
await bench.api.stop();
await bench.worker.stop();
bench.redis.disconnect();
await bench.database.end();
await bench.stage.stop();
