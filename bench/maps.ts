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
const OPEN_SECONDS = 5;
/** Until a process has compiled its code for reads, it takes half as long again. */
const WARM_UP_SECONDS = 3;
const READERS = 32;
/** Short, so that a form and its floor see the same neighbours on a shared machine. */
const TURN_SECONDS = 1;
const TURNS = 7;

/** One process is luckier with its memory and compiler than the next, by a fifth: the median of several counts. */
const ROUNDS = 3;

interface Form {
  name: string;
  part: Part;
  path: string;
  conditional: boolean;
}

/** As many reads as can be; what one takes of the server's processor is in ms. */
async function saturate({ pid }: Part, readers: ReaderPool) {
  const before = cpuSeconds({ server: pid });
  const per_second = await closedLoop(READERS, TURN_SECONDS, () => readers.read());
  const { server: cpu_ms = 0 } = cpuMsPerOperation(before, cpuSeconds({ server: pid }), per_second * TURN_SECONDS);
  return { per_second, cpu_ms };
}

type Turn = Awaited<ReturnType<typeof saturate>>;

/** The forms in turns, as many reads as can be; then each as often as it has to be. The first one is the floor. */
async function compare(forms: Form[]) {
  const contenders = forms.map(({ name, part, path, conditional }) => {
    const turns: Turn[] = [];
    return { name, part, turns, readers: new ReaderPool({ url: new URL(path, part.url), conditional }) };
  });
  for (const { readers } of contenders) await closedLoop(READERS, WARM_UP_SECONDS, () => readers.read());
  for (let turn = 0; turn < TURNS; turn++) {
    for (const { part, readers, turns } of contenders) turns.push(await saturate(part, readers));
  }
  const floor = contenders[0]?.turns ?? [];
  const measured = [];
  for (const { name, readers, turns } of contenders) {
    const steady = await openLoop({ per_second: PER_SECOND, seconds: OPEN_SECONDS, send: () => readers.read() });
    readers.close();
    measured.push({
      name,
      most_per_second: medianOf(turns.map(({ per_second }) => per_second)),
      cpu_ms: medianOf(turns.map(({ cpu_ms }) => cpu_ms)),
      ratio_to_floor: medianOf(turns.map(({ per_second }, n) => per_second / (floor[n]?.per_second ?? Infinity))),
      at_10000_per_second: latenciesByKind(steady),
    });
  }
  return measured;
}

type Measured = Awaited<ReturnType<typeof compare>>;

async function measureAll(stage: Stage, progress: (line: string) => void): Promise<Measured> {
  const api = await stage.run('api/server.js', { HOLD_SECONDS });
  const floors = await stage.run('bench/floors.js', { STATIC_URL: `${api.url}${SEATS_PATH}` });
  const edge = await startEdge({ api: api.url, api_reads: api.url });
  const inBr = { path: SEATS_PATH, conditional: false };
  const notModified = { path: SEATS_PATH, conditional: true };
  const comparisons: Form[][] = [
    [
      { ...inBr, name: 'static_br', part: floors, path: '/static' },
      { ...inBr, name: 'full_br', part: api },
    ],
    [
      { ...notModified, name: 'static_304', part: floors, path: '/static' },
      { ...notModified, name: 'full_304', part: api },
    ],
    [{ ...inBr, name: 'compact_br', part: api, path: `${SEATS_PATH}?format=compact` }],
    ...(edge ? [[{ ...inBr, name: 'edge_br', part: edge }], [{ ...notModified, name: 'edge_304', part: edge }]] : []),
  ];
  const results: Measured = [];
  for (const forms of comparisons) {
    const measured = await compare(forms);
    results.push(...measured);
    for (const form of measured) progress(`  ${JSON.stringify(form)}`);
  }
  await edge?.stop();
  await floors.stop();
  await api.stop();
  return results;
}

export async function maps({ stage }: Product, progress: (line: string) => void) {
  const rounds: Measured[] = [];
  for (let n = 0; n < ROUNDS; n++) rounds.push(await measureAll(stage, progress));
  const ratioOf = (form: string) =>
    medianOf(rounds.map((round) => round.find(({ name }) => name === form)?.ratio_to_floor ?? 0));
  return { ratio_to_static: { br: ratioOf('full_br'), not_modified: ratioOf('full_304') }, rounds };
}
