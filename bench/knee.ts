/** Grants: how many a second, beside the floors. */
import { prepareDatabase } from '../db/prepare.ts';
import { climb, freshPairs, kneeOf, offer, type Step } from './scenarios.ts';
import { openStage, type Part } from './stage.ts';

const RATES = [30, 40, 50, 60, 70, 80, 85, 90, 95, 100, 105, 110, 115, 120, 125, 130, 140, 150, 160, 180, 200];
const HOLD_SECONDS = '600'; // no timer fires into the measurement
const CLIMBS = 3;
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
  const climbAlone = (program: string, path: string) =>
    alone(program, ({ url }, pids) => climb({ url, path, pids }, RATES, nextSeats, progress));
  const f2: Step[][] = [];
  const f1AndF2: Step[][] = [];
  const ours: Step[][] = [];
  for (let n = 0; n < CLIMBS; n++) {
    f2.push(await climbAlone('bench/floors.js', '/f2'));
    f1AndF2.push(await climbAlone('bench/floors.js', '/f1+f2'));
    ours.push(await climbAlone('api/server.js', '/api/v1/reservations'));
  }
  const f3 = await climbAlone('bench/floors.js', '/f3');
  const f1 = await alone('bench/floors.js', ({ url }, pids) =>
    offer({ url, path: '/f1', pids }, F1_PER_SECOND, F1_SECONDS, nextSeats),
  );
  const per_second = { ours: kneeOf(ours), f1_and_f2: kneeOf(f1AndF2), f2: kneeOf(f2), f3: kneeOf([f3]) };
  const ratioTo = (floor: number) => per_second.ours / Math.max(1, floor);
  return {
    granted_per_second: per_second.ours,
    f1_and_f2_per_second: per_second.f1_and_f2,
    f2_per_second: per_second.f2,
    f3_per_second: per_second.f3,
    ratio_to_f1_and_f2: ratioTo(per_second.f1_and_f2),
    ratio_to_f2: ratioTo(per_second.f2),
    f1: f1.step,
    f1_and_f2: f1AndF2,
    f2,
    f3,
    ours,
  };
}
