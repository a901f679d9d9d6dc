/** Grants: how many a second, and what one costs, beside the floors. */
import { prepareDatabase } from '../db/prepare.ts';
import { findKnee, freshPairs, offer } from './scenarios.ts';
import { openStage, type Part } from './stage.ts';

const RATES = [20, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200, 240, 280];
const HOLD_SECONDS = '600'; // no timer fires into the measurement
const F1_PER_SECOND = 333;
const F1_SECONDS = 8;

/** Each on services of its own: what one left open would slow down the next. */
export async function knee(progress: (line: string) => void) {
  const nextSeats = freshPairs();
  const alone = async <T>(program: string, measure: (part: Part, pids: Record<string, number>) => Promise<T>) => {
    const stage = await openStage(progress);
    await prepareDatabase(stage.services.database_url, 'on');
    const part = await stage.run(program, { HOLD_SECONDS });
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
    offer({ url, path: '/f1', pids }, F1_PER_SECOND, F1_SECONDS, nextSeats),
  );
  return { f1: f1.step, f2, f3, ours, ratio_to_f2: ours.granted_per_second / Math.max(1, f2.granted_per_second) };
}
