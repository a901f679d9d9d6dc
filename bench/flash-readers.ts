/** The flash with its audience: live viewers and map reads beside it, of the API that sells, another one, or the edge. */
import { gather } from './audience.ts';
import { cpuMsPerOperation, cpuSeconds, residentMb } from './cpu.ts';
import { startEdge } from './edge.ts';
import { flash } from './flash.ts';
import { closedLoop, createClient, type Sample } from './load.ts';
import { HOLD_SECONDS, type Product } from './product.ts';
import { ReaderPool, type Reading } from './reader.ts';
import { SEATS_PATH } from './scenarios.ts';
import type { Part } from './stage.ts';
import { latenciesByKind } from './stats.ts';

const ATTEMPTS_PER_SECOND = 333;
const MEMORY_EVERY_MS = 1_000;
const WARM_UP_READERS = 32;
const WARM_UP_SECONDS = 2;

export interface AudienceOptions {
  viewers?: number;
  maps_per_second?: number;
  format?: 'full' | 'compact';
  conditional?: boolean;
  /** Who serves them, where it is not the API that sells. */
  served_by?: 'another API' | 'edge';
}

/** What serves the audience beside the API that sells; undefined where that does it. */
function startServing({ stage, api }: Product, by: AudienceOptions['served_by'], progress: (line: string) => void) {
  if (by === 'another API') return stage.run('api/server.js', { HOLD_SECONDS });
  if (by === 'edge') return startEdge(api.url, progress);
  return Promise.resolve(undefined);
}

/** A process that has just been started compiles its code while its first readers wait. */
async function warmUp(reading: Reading): Promise<void> {
  const readers = new ReaderPool(reading);
  await closedLoop(WARM_UP_READERS, WARM_UP_SECONDS, () => readers.read());
  readers.close();
}

export async function flashWithReaders(
  product: Product,
  seconds: number,
  { viewers = 0, maps_per_second = 0, format = 'full', conditional = false, served_by }: AudienceOptions,
  draw: (samples: Sample[]) => Promise<void>,
  progress: (line: string) => void,
) {
  const { api, pids } = product;
  const serving: Part | undefined = await startServing(product, served_by, progress);
  if (served_by && !serving) return undefined; // it is said why
  const seatsUrl = `${serving?.url ?? api.url}${SEATS_PATH}`;
  const mapsUrl = `${seatsUrl}${format === 'compact' ? '?format=compact' : ''}`;
  if (maps_per_second > 0) await warmUp({ url: new URL(mapsUrl), conditional });
  const everybody = serving && served_by ? { ...pids, [served_by]: serving.pid } : pids;
  const audience = await gather({
    viewers,
    stream_url: `${seatsUrl}/stream`,
    maps_per_second,
    maps_url: mapsUrl,
    conditional,
    seconds,
  });
  const before = cpuSeconds(everybody);
  const memory_mb: Record<string, number> = {};
  const noteMemory = () => {
    for (const [name, mb] of Object.entries(residentMb(everybody)))
      memory_mb[name] = Math.max(mb, memory_mb[name] ?? 0);
  };
  const noting = setInterval(noteMemory, MEMORY_EVERY_MS);
  const client = createClient(api.url);
  const { attempts, decisions } = await flash(client, ATTEMPTS_PER_SECOND, seconds);
  clearInterval(noting);
  const cpu_ms_per_grant = cpuMsPerOperation(before, cpuSeconds(everybody), granted(attempts));
  const seen = await audience.leave();
  client.close();
  await serving?.stop();
  await draw(attempts);
  return {
    attempts: latenciesByKind(attempts),
    decisions: latenciesByKind(decisions),
    ...seen,
    cpu_ms_per_grant,
    most_memory_mb: memory_mb,
  };
}

const granted = (attempts: Sample[]) => attempts.filter(({ kind }) => kind === '201').length;
