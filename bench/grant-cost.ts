/** What a grant costs in processor time beside its floors: in turns on the same services, so that noise meets all. */
import { prepareDatabase } from '../db/prepare.ts';
import { freshPairs, offer } from './scenarios.ts';
import { openStage } from './stage.ts';

const PER_SECOND = 60;
const TURN_SECONDS = 8;
const TURNS = 12;
/** The first ones, while the code is still being compiled. */
const WARM_UP_TURNS = 3;
const HOLD_SECONDS = '600'; // no timer fires into the measurement

const meanOf = (values: number[]) =>
  Math.round((values.reduce((sum, value) => sum + value, 0) / values.length) * 100) / 100;

/** In milliseconds, by process. */
export async function grantCost(progress: (line: string) => void) {
  const stage = await openStage(progress);
  await prepareDatabase(stage.services.database_url, 'on');
  const [floors, api] = [await stage.run('bench/floors.js'), await stage.run('api/server.js', { HOLD_SECONDS })];
  const contenders = [
    { name: 'f2', path: '/f2', part: floors },
    { name: 'f1_and_f2', path: '/f1+f2', part: floors },
    { name: 'ours', path: '/api/v1/reservations', part: api },
  ];
  const costs = new Map(contenders.map(({ name }): [string, Record<string, number>[]] => [name, []]));
  const nextSeats = freshPairs();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const { name, path, part } of contenders) {
      const target = { url: part.url, path, pids: { ...stage.pids, node: part.pid } };
      const { step } = await offer(target, PER_SECOND, TURN_SECONDS, nextSeats);
      progress(`  ${name}: p99 ${step.granted.p99} ms, CPU ${JSON.stringify(step.cpu_ms_per_grant)}`);
      if (turn >= WARM_UP_TURNS) costs.get(name)?.push(step.cpu_ms_per_grant);
    }
  }
  for (const { part } of contenders) await part.stop();
  await stage.stop();
  const meanOfEach = (turns: Record<string, number>[]) =>
    Object.fromEntries(
      Object.keys(turns[0] ?? {}).map((process) => [process, meanOf(turns.map((turn) => turn[process] ?? 0))]),
    );
  return Object.fromEntries([...costs].map(([name, turns]) => [name, meanOfEach(turns)]));
}
