/** Seat maps in each form, beside a static handler that sends the same bytes, and through the edge. */
import { cpuMsPerOperation, cpuSeconds } from './cpu.ts';
import { startEdge } from './edge.ts';
import { closedLoop, openLoop } from './load.ts';
import type { Product } from './product.ts';
import { ReaderPool } from './reader.ts';
import { SEATS_PATH } from './scenarios.ts';
import type { Part } from './stage.ts';
import { latenciesByKind, latenciesOf } from './stats.ts';

const PER_SECOND = 10_000;
const SECONDS = 5;
/** Until a process has compiled its code for reads, it takes half as long again. */
const WARM_UP_SECONDS = 3;
const READERS = 32;

interface Form {
  part: Part;
  path: string;
  conditional: boolean;
}

/** The floor of each form comes right before it, so that both see the same neighbours on a shared machine. */
export async function maps({ stage, api }: Product, progress: (line: string) => void) {
  const floors = await stage.run('bench/floors.js', { STATIC_URL: `${api.url}${SEATS_PATH}` });
  const edge = await startEdge(api.url, progress);
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
  const results: Record<string, unknown> = {};
  for (const [name, { part, path, conditional }] of Object.entries(forms)) {
    const pool = new ReaderPool({ url: new URL(path, part.url), conditional });
    await closedLoop(READERS, WARM_UP_SECONDS, () => pool.read());
    const before = cpuSeconds({ server: part.pid });
    const most = await closedLoop(READERS, SECONDS, () => pool.read());
    const cpu_ms = cpuMsPerOperation(before, cpuSeconds({ server: part.pid }), most * SECONDS);
    const steady = await openLoop({ per_second: PER_SECOND, seconds: SECONDS, send: () => pool.read() });
    pool.close();
    results[name] = { most_per_second: most, cpu_ms, at_10000_per_second: latenciesByKind(steady) };
    progress(`  ${name}: ${most}/s, CPU ${cpu_ms['server']} ms, at 10,000/s p99 ${latenciesOf(steady).p99} ms`);
  }
  await edge?.stop();
  await floors.stop();
  return results;
}
