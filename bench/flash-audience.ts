/** The flash alone, and with its audience: live viewers and map reads, of another API or of the edge. */
import { startEdge } from '../dev/edge.ts';
import { gather, type Audience } from './audience.ts';
import { cpuMsPerOperation, cpuSeconds, residentMb } from './cpu.ts';
import { SEED, flash } from './flash.ts';
import { closedLoop, createClient, type Sample } from './load.ts';
import { HOLD_SECONDS, type Product } from './product.ts';
import { createRandom } from './random.ts';
import { ReaderPool, type Reading } from './reader.ts';
import { SEATS_PATH } from './scenarios.ts';
import { latenciesByKind } from './stats.ts';

const ATTEMPTS_PER_SECOND = 333;
const MEMORY_EVERY_MS = 1_000;
/** A process that has just been started compiles its code while the first are served. */
const WARM_UP_READERS = 32;
const WARM_UP_SECONDS = 3;
/** With the audience and without it in turns, since a noisy machine changes by the minute. */
const TURNS = 4;
const TURN_SECONDS = 15;
/** Of each turn, in which a burst waits: what is compared comes after it. */
const FIRST_MS = 1_000;

export interface AudienceOptions {
  viewers?: number;
  maps_per_second?: number;
  format?: 'full' | 'compact';
  conditional?: boolean;
  /** Not the API that sells; the edge is in front of another one, and the floor has one map for ever. */
  served_by: 'another API' | 'edge' | 'floor';
}

/** Who serves the audience, and the processes that this takes beside the API that sells. */
interface Serving {
  /** Of the map; the live changes are below it. */
  url: string;
  pids: Record<string, number>;
  stop(): Promise<void>;
}

async function startServing({ stage, api }: Product, by: AudienceOptions['served_by']): Promise<Serving | undefined> {
  if (by === 'floor') {
    const floor = await stage.run('bench/floors.js', { STATIC_URL: `${api.url}${SEATS_PATH}` });
    return { url: `${floor.url}/static`, pids: { floor: floor.pid }, stop: floor.stop };
  }
  const another = await stage.run('api/server.js', { HOLD_SECONDS });
  const pids = { 'another API': another.pid };
  if (by === 'another API') return { url: `${another.url}${SEATS_PATH}`, pids, stop: another.stop };
  const edge = await startEdge({ api: api.url, api_reads: another.url });
  const stop = async () => {
    await edge?.stop();
    await another.stop();
  };
  if (edge) return { url: `${edge.url}${SEATS_PATH}`, pids: { ...pids, edge: edge.pid }, stop };
  await stop();
  return undefined;
}

async function warmUp(reading: Reading): Promise<void> {
  const readers = new ReaderPool(reading);
  await closedLoop(WARM_UP_READERS, WARM_UP_SECONDS, () => readers.read());
  readers.close();
}

/** A flash, and what it took of each process. */
async function measure({ api }: Product, pids: Record<string, number>, seconds: number, random = createRandom(SEED)) {
  const client = createClient(api.url);
  const before = cpuSeconds(pids);
  const memory_mb: Record<string, number> = {};
  const noting = setInterval(() => {
    for (const [name, mb] of Object.entries(residentMb(pids))) memory_mb[name] = Math.max(mb, memory_mb[name] ?? 0);
  }, MEMORY_EVERY_MS);
  const { attempts, decisions } = await flash(client, ATTEMPTS_PER_SECOND, seconds, random);
  clearInterval(noting);
  const granted = attempts.filter(({ kind }) => kind === '201').length;
  const cpu_ms_per_grant = cpuMsPerOperation(before, cpuSeconds(pids), granted);
  client.close();
  return { attempts, decisions, cpu_ms_per_grant, most_memory_mb: memory_mb };
}

export async function flashAlone(product: Product, seconds: number, draw: (samples: Sample[]) => Promise<void>) {
  const { attempts, decisions, ...taken } = await measure(product, product.pids, seconds);
  await draw(attempts);
  return { attempts: latenciesByKind(attempts), decisions: latenciesByKind(decisions), ...taken };
}

export async function flashWithAudience(
  product: Product,
  { viewers = 0, maps_per_second = 0, format = 'full', conditional = false, served_by }: AudienceOptions,
  draw: (samples: Sample[]) => Promise<void>,
  progress: (line: string) => void,
) {
  const serving = await startServing(product, served_by);
  if (!serving) {
    progress('  left out: there is no nginx');
    return undefined;
  }
  const mapsUrl = `${serving.url}${format === 'compact' ? '?format=compact' : ''}`;
  const audience: Audience = {
    viewers,
    stream_url: `${serving.url}/stream`,
    maps_per_second,
    maps_url: mapsUrl,
    conditional,
    seconds: TURN_SECONDS,
  };
  const random = createRandom(SEED);
  const pids = { ...product.pids, ...serving.pids };
  const flashFor = (seconds: number) => measure(product, pids, seconds, random);
  if (maps_per_second > 0) await warmUp({ url: new URL(mapsUrl), conditional });
  await flashFor(WARM_UP_SECONDS);

  const alone: Sample[] = [];
  const beside: Sample[] = [];
  const turns = [];
  const isLater = ({ due_ms }: Sample) => due_ms >= FIRST_MS;
  for (let turn = 0; turn < TURNS; turn++) {
    alone.push(...(await flashFor(TURN_SECONDS)).attempts.filter(isLater));
    const { leave } = await gather(audience);
    const { attempts, decisions, ...taken } = await flashFor(TURN_SECONDS);
    const seen = await leave();
    const start_ms = turn * TURN_SECONDS * 1_000;
    beside.push(...attempts.filter(isLater).map((it) => ({ ...it, due_ms: start_ms + it.due_ms })));
    turns.push({ decisions: latenciesByKind(decisions), ...seen, ...taken });
  }
  await serving.stop();
  await draw(beside);
  const of = { alone: latenciesByKind(alone), beside: latenciesByKind(beside) };
  progress(`  grants alone ${JSON.stringify(of.alone['201'])}, beside ${JSON.stringify(of.beside['201'])}`);
  return { grant_p99_ratio: (of.beside['201']?.p99 ?? Infinity) / (of.alone['201']?.p99 ?? 0), ...of, turns };
}
