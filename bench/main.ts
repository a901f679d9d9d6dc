/**
 * `npm run bench`: measures the product against its floors, in one run on one machine, and looks after every scenario
 * whether anything was lost. `npm run bench -- knee flash` runs some of the scenarios.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { latencyChart } from './chart.ts';
import { flashAlone, flashWithAudience, type AudienceOptions } from './flash-audience.ts';
import { grantCost } from './grant-cost.ts';
import { growth } from './growth.ts';
import { knee } from './knee.ts';
import type { Sample } from './load.ts';
import { maps } from './maps.ts';
import { overload } from './overload.ts';
import { openProduct, sweep, type Product } from './product.ts';
import { realServer } from './real-server.ts';
import { refusals } from './refusals.ts';
import { expiryStorm } from './storm.ts';

const OUT = 'docs/bench';
const FLASH_SECONDS = 60;
const LONG_FLASH_SECONDS = 600;
const MAPS_PER_SECOND = 10_000;
const VIEWERS = 1_000;
const STORM_HOLDS = 2_000;

const progress = (line: string) => console.error(line);
const draw = (name: string, title: string) => (samples: Sample[]) =>
  writeFile(`${OUT}/${name}.svg`, latencyChart(title, samples));

let kneePerSecond = Number(process.env['KNEE'] ?? 50);

const drawFlash = (name: string) => draw(name, 'Flash, 333 attempts/s');
const flashFor = (name: string, seconds: number) => (product: Product) => flashAlone(product, seconds, drawFlash(name));
const flashWith = (name: string, audience: AudienceOptions) => (product: Product) =>
  flashWithAudience(product, audience, drawFlash(name), progress);

/** On services of their own. */
const APART: Record<string, () => Promise<unknown>> = {
  knee: async () => {
    const result = await knee(progress);
    kneePerSecond = result.granted_per_second;
    return result;
  },
  'grant-cost': () => grantCost(progress),
  'real-server': () => realServer(progress),
  growth: () => growth(progress),
};

/** On the same services, one after the other. */
const SCENARIOS: Record<string, (product: Product) => Promise<unknown>> = {
  // First: a Temporal server that has lived through five flashes is slower than the knee's.
  overload: (product) =>
    overload(product, kneePerSecond, draw('overload', 'Overload, three times what can be granted')),
  refusals,
  maps: (product) => maps(product, progress),
  flash: flashFor('flash', FLASH_SECONDS),
  'flash-with-viewers': flashWith('flash-with-viewers', { viewers: VIEWERS, served_by: 'another API' }),
  'flash-with-polls': flashWith('flash-with-polls', {
    maps_per_second: MAPS_PER_SECOND,
    conditional: true,
    served_by: 'another API',
  }),
  // The least that ten thousand polls a second can be, on the cores of the flash.
  'flash-with-floor': flashWith('flash-with-floor', {
    maps_per_second: MAPS_PER_SECOND,
    conditional: true,
    served_by: 'floor',
  }),
  'flash-with-compact': flashWith('flash-with-compact', {
    maps_per_second: MAPS_PER_SECOND,
    format: 'compact',
    served_by: 'another API',
  }),
  'flash-with-edge': flashWith('flash-with-edge', {
    maps_per_second: MAPS_PER_SECOND,
    conditional: true,
    served_by: 'edge',
  }),
  'flash-ten-minutes': flashFor('flash-ten-minutes', LONG_FLASH_SECONDS),
  storm: async ({ stage, database }) => ({
    last_seat_free_after_ms: await expiryStorm(stage.services.temporal_address, database, STORM_HOLDS),
  }),
};

const wanted = process.argv.slice(2);
const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name);

/** A run of some scenarios leaves the others' figures as they are. */
const report: Record<string, unknown> =
  wanted.length === 0 ? {} : JSON.parse(await readFile(`${OUT}/report.json`, 'utf8').catch(() => '{}'));

async function note(name: string, run: () => Promise<unknown>): Promise<void> {
  progress(`${name} …`);
  const result = await run();
  report[name] = { at: new Date().toISOString(), node: process.version, ...Object(result) };
  console.log(name, JSON.stringify(result, null, 1));
  await writeFile(`${OUT}/report.json`, `${JSON.stringify(report, null, 2)}\n`);
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130)); // which ends what was started
await mkdir(OUT, { recursive: true });
for (const [name, run] of Object.entries(APART)) if (isWanted(name)) await note(name, run);
if (Object.keys(SCENARIOS).some(isWanted)) {
  const product = await openProduct(progress);
  for (const [name, run] of Object.entries(SCENARIOS)) {
    if (!isWanted(name)) continue;
    await note(name, () => run(product));
    await sweep(product);
    progress('  swept: nothing double, nothing lost, nothing stuck');
  }
  await product.close();
}
