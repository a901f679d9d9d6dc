/** Grants on the Temporal server of production with PostgreSQL, in place of the dev server with SQLite. */
import { prepareDatabase } from '../db/prepare.ts';
import { climb, freshPairs, kneeOf, type Step } from './scenarios.ts';
import { openStage } from './stage.ts';
import { startTemporalServer } from './temporal-server.ts';

const RATES = [40, 60, 70, 80, 90, 100, 110, 120, 130, 140];
const CLIMBS = 3;

export async function realServer(progress: (line: string) => void) {
  const stage = await openStage(progress);
  await prepareDatabase(stage.services.database_url, 'on');
  const nextSeats = freshPairs();
  const temporal = await startTemporalServer(stage.services.database_url, progress);
  const settings = { TEMPORAL_ADDRESS: temporal.address, HOLD_SECONDS: '600' };
  const worker = await stage.run('worker/main.js', settings); // makes the search attributes known
  const pids = { ...stage.pids, Temporal: temporal.pid };
  const climbAnew = async (program: string, path: string) => {
    const part = await stage.run(program, settings);
    const target = { url: part.url, path, pids: { ...pids, node: part.pid } };
    const steps = await climb(target, RATES, nextSeats, progress);
    await part.stop();
    return steps;
  };
  const f2: Step[][] = [];
  const ours: Step[][] = [];
  for (let n = 0; n < CLIMBS; n++) {
    f2.push(await climbAnew('bench/floors.js', '/f2'));
    ours.push(await climbAnew('api/server.js', '/api/v1/reservations'));
  }
  await worker.stop();
  await temporal.stop();
  await stage.stop();
  return { granted_per_second: kneeOf(ours), f2_per_second: kneeOf(f2), f2, ours };
}
