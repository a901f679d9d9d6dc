/**
 * Whatever is done to reservations, in whatever order, the contract's invariants hold. Each seed is a sequence of
 * commands; the first that fails is shrunk and printed. To see one again, or more of them:
 *
 *     SEED=123 npm test -- test/simulation
 *     npm run simulate -- 5000
 */
import { Context } from '@temporalio/activity';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createActivities } from '../../activities/index.ts';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import { createSeatLocks } from '../../activities/seat-locks.ts';
import { surround } from '../support/fault-injection.ts';
import { log, openStores, type Stores } from '../support/stores.ts';
import { startTimeSkipping } from '../support/time-skipping.ts';
import { sequences, type Command } from './commands.ts';
import { RECORD_CHANGES, findBreaches } from './invariants.ts';
import { SharedClock } from './shared-clock.ts';
import { World, type WorldDependencies } from './world.ts';

const { SEED, RUNS } = process.env;
const FIRST_SEED = Number(SEED ?? 1);
const SEEDS = Number(RUNS ?? (SEED === undefined ? 500 : 1));
/** Sequences that share the server and its clock. */
const AT_ONCE = 50;
const SHRINK_WITHIN_MS = 120_000;

let stores: Stores;
/** Waits, where the product's own gives up after a quarter of a second. */
let redis: Redis;
let temporal: Awaited<ReturnType<typeof startTimeSkipping>>;
let outside: WorldDependencies;
const worlds = new Set<World>();

/** Activities of the world that the workflow is of. */
const inItsWorld = (_name: string, call: () => Promise<unknown>): Promise<unknown> => {
  const { info } = Context.current();
  const world = [...worlds].find((it) => it.find(info.workflowExecution?.workflowId));
  if (!world) throw new RangeError(`${info.activityType} comes after the end of its world`);
  return world.step(info, call);
};

beforeAll(async () => {
  stores = await openStores();
  redis = new Redis(stores.redisUrl);
  await stores.database.query(RECORD_CHANGES);
  const gateway = createSandboxGateway(stores.database);
  const mail = { smtpUrl: undefined, mailFrom: 'box-office@localhost' };
  const seatLocks = createSeatLocks(stores.redis, log);
  const { seats, payments, notifications } = createActivities({ ...stores, ...mail, seatLocks, gateway, log });
  temporal = await startTimeSkipping({
    seats: surround(seats, inItsWorld),
    payments: surround(payments, inItsWorld),
    notifications: surround(notifications, inItsWorld),
  });
  const clock = new SharedClock((ms) => temporal.env.sleep(ms));
  outside = { database: stores.database, redis, gateway, clock, connection: temporal.env.connection };
});
afterAll(async () => {
  await temporal.stop();
  redis.disconnect();
  await stores.close();
});

const endings = new Map<string, number>();

const invariantsHold = fc.asyncProperty(sequences, async (commands: Command[]) => {
  const world = await World.create(outside);
  worlds.add(world);
  await world.live(commands);
  const { breaches, ended } = await findBreaches(world, outside);
  worlds.delete(world);
  for (const ending of ended) endings.set(ending, (endings.get(ending) ?? 0) + 1);
  if (breaches.length > 0) throw new Error(breaches.join('\n'));
});

/** In words; undefined where the invariants hold. */
async function check(seed: number, shrink: Pick<fc.Parameters, 'endOnFailure' | 'interruptAfterTimeLimit'>) {
  const result = await fc.check(invariantsHold, { seed, numRuns: 1, unbiased: true, ...shrink });
  if (!result.failed) return undefined;
  const commands = result.counterexample?.[0].map((command, n) => `  ${n + 1}. ${JSON.stringify(command)}`) ?? [];
  return [`SEED=${seed}, path ${result.counterexamplePath}`, ...commands, String(result.errorInstance)].join('\n');
}

/** The seeds whose sequence breaks an invariant, and how. */
async function runAll(): Promise<Map<number, string>> {
  const failed = new Map<number, string>();
  let next = FIRST_SEED;
  const runSome = async () => {
    for (let seed = next++; seed < FIRST_SEED + SEEDS; seed = next++) {
      const report = await check(seed, { endOnFailure: true });
      if (report !== undefined) failed.set(seed, report);
      if (RUNS && seed % 100 === 0) console.error(`seed ${seed}: ${failed.size} failed`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, () => outside.clock.keepFrom(runSome)));
  return failed;
}

test(
  `${SEEDS} sequences of commands break no invariant`,
  async () => {
    const failed = await runAll();
    if (RUNS) console.error(`${SEEDS} sequences: ${[...endings].map((it) => it.join(' ')).join(', ')}`);
    for (const [seed, report] of failed) {
      const shrunk = await outside.clock.keepFrom(() => check(seed, { interruptAfterTimeLimit: SHRINK_WITHIN_MS }));
      const others = [...failed.keys()].filter((other) => other !== seed);
      expect.fail(`${shrunk ?? `only beside others: ${report}`}\nalso failed: ${others.join(' ')}`);
    }
  },
  SEEDS * 1_000 + SHRINK_WITHIN_MS,
);
