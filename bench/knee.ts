/** Grants: how many a second, beside the floors. */
import { prepareDatabase } from '../db/prepare.ts';
import { findKnee, freshPairs, offer, type Knee } from './scenarios.ts';
import { openStage, type Part } from './stage.ts';

const RATES = [40, 60, 80, 100, 120, 140, 160, 180, 200, 240, 280];
const HOLD_SECONDS = '600'; // no timer fires into the measurement
/** One slow second ends a climb too soon: the better of two counts, for us and for the floor. */
const CLIMBS = 2;
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
  const climb = (program: string, path: string) =>
    alone(program, ({ url }, pids) => findKnee({ url, path, pids }, RATES, nextSeats, progress));
  const f2: Knee[] = [];
  const ours: Knee[] = [];
  for (let n = 0; n < CLIMBS; n++) {
    f2.push(await climb('bench/floors.js', '/f2'));
    ours.push(await climb('api/server.js', '/api/v1/reservations'));
  }
  const f3 = await climb('bench/floors.js', '/f3');
  const f1 = await alone('bench/floors.js', ({ url }, pids) =>
    offer({ url, path: '/f1', pids }, F1_PER_SECOND, F1_SECONDS, nextSeats),
  );
  const [best, bestOfF2] = [bestOf(ours), bestOf(f2)];
  return { f1: f1.step, f2, f3, ours, granted_per_second: best, ratio_to_f2: best / Math.max(1, bestOfF2) };
}

const bestOf = (climbs: Knee[]) => Math.max(...climbs.map(({ granted_per_second }) => granted_per_second));
