/** Grants on the Temporal server of production with PostgreSQL, in place of the dev server with SQLite. */
import { prepareDatabase } from '../db/prepare.ts';
import { findKnee, freshPairs } from './scenarios.ts';
import { openStage } from './stage.ts';
import { startTemporalServer } from './temporal-server.ts';

const RATES = [40, 60, 80, 100, 120, 140, 160, 180, 200];

export async function realServer(progress: (line: string) => void) {
  const stage = await openStage(progress);
  await prepareDatabase(stage.services.database_url, 'on');
  const temporal = await startTemporalServer(stage.services.database_url, progress);
  const settings = { TEMPORAL_ADDRESS: temporal.address, HOLD_SECONDS: '600' };
  const worker = await stage.run('worker/main.js', settings); // makes the search attributes known
  const pids = { ...stage.pids, Temporal: temporal.pid };
  const measure = async (program: string, path: string) => {
    const part = await stage.run(program, settings);
    const result = await findKnee(
      { url: part.url, path, pids: { ...pids, node: part.pid } },
      RATES,
      freshPairs(),
      progress,
    );
    await part.stop();
    return result;
  };
  const f2 = await measure('bench/floors.js', '/f2');
  const ours = await measure('api/server.js', '/api/v1/reservations');
  await worker.stop();
  await temporal.stop();
  await stage.stop();
  return { f2, ours };
}
