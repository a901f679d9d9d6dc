/** Seat maps in each form, beside a static handler that sends the same bytes, and through the edge. */
import { startEdge } from '../dev/edge.ts';
import { cpuMsPerOperation, cpuSeconds } from './cpu.ts';
import { closedLoop, openLoop } from './load.ts';
import { HOLD_SECONDS, type Product } from './product.ts';
import { ReaderPool } from './reader.ts';
import { SEATS_PATH } from './scenarios.ts';
import type { Part, Stage } from './stage.ts';
import { latenciesByKind, medianOf } from './stats.ts';

const PER_SECOND = 10_000;
const SECONDS = 5;
/** Until a process has compiled its code for reads, it takes half as long again. */
const WARM_UP_SECONDS = 3;
const READERS = 32;

/** One process is luckier with its memory and compiler than the next, by a fifth: the median of several counts. */
const ROUNDS = 3;

interface Form {
  part: Part;
  path: string;
  conditional: boolean;
}

async function measure({ part, path, conditional }: Form) {
  const pool = new ReaderPool({ url: new URL(path, part.url), conditional });
  await closedLoop(READERS, WARM_UP_SECONDS, () => pool.read());
  const before = cpuSeconds({ server: part.pid });
  const most_per_second = await closedLoop(READERS, SECONDS, () => pool.read());
  const cpu_ms = cpuMsPerOperation(before, cpuSeconds({ server: part.pid }), most_per_second * SECONDS);
  const steady = await openLoop({ per_second: PER_SECOND, seconds: SECONDS, send: () => pool.read() });
  pool.close();
  return { most_per_second, cpu_ms, at_10000_per_second: latenciesByKind(steady) };
}

type Measured = Awaited<ReturnType<typeof measure>>;

/** The floor of each form comes right before it, so that both see the same neighbours on a shared machine. */
async function measureAll(stage: Stage, progress: (line: string) => void): Promise<Record<string, Measured>> {
  const api = await stage.run('api/server.js', { HOLD_SECONDS });
  const floors = await stage.run('bench/floors.js', { STATIC_URL: `${api.url}${SEATS_PATH}` });
  const edge = await startEdge({ api: api.url, api_reads: api.url });
  const forms: Record<string, Form> = {
    static_br: { part: floors, path: '/static', conditional: false },
    full_br: { part: api, path: SEATS_PATH, conditional: false },
    static_304: { part: floors, path: '/static', conditional: true },
    full_304: { part: api, path: SEATS_PATH, conditional: true },
    compact_br: { part: api, path: `${SEATS_PATH}?format=compact`, conditional: false },
    ...(edge && {
      edge_br: { part: edge, path: SEATS_PATH, conditional: false },
      edge_304: { part: edge, path: SEATS_PATH, conditional: true },
    }),
  };
  const results: Record<string, Measured> = {};
  for (const [name, form] of Object.entries(forms)) {
    const measured = await measure(form);
    results[name] = measured;
    progress(`  ${name}: ${JSON.stringify(measured)}`);
  }
  await edge?.stop();
  await floors.stop();
  await api.stop();
  return results;
}

export async function maps({ stage }: Product, progress: (line: string) => void) {
  const rounds: Record<string, Measured>[] = [];
  for (let n = 0; n < ROUNDS; n++) rounds.push(await measureAll(stage, progress));
  const ratioTo = (floor: string, form: string) =>
    medianOf(rounds.map((round) => (round[form]?.most_per_second ?? 0) / (round[floor]?.most_per_second ?? Infinity)));
  return {
    ratio_to_static: { br: ratioTo('static_br', 'full_br'), not_modified: ratioTo('static_304', 'full_304') },
    rounds,
  };
}
