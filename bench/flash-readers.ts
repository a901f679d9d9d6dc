/** The flash with its audience: live viewers and map reads beside it, of the API itself or of the edge. */
import { cpuMsPerOperation, cpuSeconds, residentMb } from './cpu.ts';
import { startEdge } from './edge.ts';
import { flash } from './flash.ts';
import { createClient, openLoop, type Sample } from './load.ts';
import type { Product } from './product.ts';
import { ReaderPool } from './reader.ts';
import { SEATS_PATH } from './scenarios.ts';
import { latenciesByKind } from './stats.ts';
import { watch } from './viewers.ts';

const ATTEMPTS_PER_SECOND = 333;
const MEMORY_EVERY_MS = 1_000;

export interface Audience {
  viewers?: number;
  maps_per_second?: number;
  /** Who the maps are read from, and whether the reader has one already. */
  maps_of?: 'api' | 'edge';
  conditional?: boolean;
}

export async function flashWithReaders(
  { api, pids }: Product,
  seconds: number,
  { viewers = 0, maps_per_second = 0, maps_of = 'api', conditional = false }: Audience,
  draw: (samples: Sample[]) => Promise<void>,
  progress: (line: string) => void,
) {
  const client = createClient(api.url);
  const edge = maps_of === 'edge' ? await startEdge(api.url, progress) : undefined;
  const everybody = edge ? { ...pids, edge: edge.pid } : pids;
  const live = await watch(new URL(`${SEATS_PATH}/stream`, api.url), viewers);
  const mapsUrl = new URL(SEATS_PATH, edge?.url ?? api.url);
  const readers = new ReaderPool(mapsUrl, await headersFor(mapsUrl, conditional));
  const before = cpuSeconds(everybody);
  const memory_mb: Record<string, number> = {};
  const noteMemory = () => {
    for (const [name, mb] of Object.entries(residentMb(everybody)))
      memory_mb[name] = Math.max(mb, memory_mb[name] ?? 0);
  };
  const noting = setInterval(noteMemory, MEMORY_EVERY_MS);
  const reading = maps_per_second
    ? openLoop({ per_second: maps_per_second, seconds, send: () => readers.read() })
    : Promise.resolve([]);
  const { attempts, decisions } = await flash(client, ATTEMPTS_PER_SECOND, seconds);
  const reads = await reading;
  clearInterval(noting);
  const cpu_ms_per_grant = cpuMsPerOperation(before, cpuSeconds(everybody), granted(attempts));
  live.close();
  readers.close();
  client.close();
  await edge?.stop();
  await draw(attempts);
  return {
    attempts: latenciesByKind(attempts),
    decisions: latenciesByKind(decisions),
    live: latenciesByKind(live.samples),
    maps: latenciesByKind(reads),
    cpu_ms_per_grant,
    most_memory_mb: memory_mb,
  };
}

const granted = (attempts: Sample[]) => attempts.filter(({ kind }) => kind === '201').length;

async function headersFor(url: URL, conditional: boolean): Promise<Record<string, string>> {
  const br = { 'accept-encoding': 'br' };
  if (!conditional) return br;
  const response = await fetch(url, { headers: br });
  await response.arrayBuffer();
  return { ...br, 'if-none-match': response.headers.get('etag') ?? '' };
}
