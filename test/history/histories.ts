/** `npm run histories -- 500`: histories of buyers who fight for few seats, judged. */
import { expect, test } from 'vitest';
import { addEvent } from '../support/house.ts';
import { startSystem } from '../support/system.ts';
import { CLIENTS, OPERATIONS, recordHistory } from './buyers.ts';
import { checkHistory } from './checker.ts';
import type { Call } from './history.ts';
import { Random } from './random.ts';

const HISTORIES = Number(process.env['HISTORIES'] ?? 50);
const FIRST_SEED = Number(process.env['HISTORY_SEED'] ?? 1);

/** Each on an event of its own: while one waits for its holds to run out, the others use the machine. */
const AT_ONCE = 5;
/** Where fewer were granted, there was nothing to judge. */
const LEAST_GRANTS = 10;

const countOf = (calls: Call[], type: Call['outcome']['type']) =>
  calls.filter(({ outcome }) => outcome.type === type).length;

test(
  `${HISTORIES} histories of ${OPERATIONS} calls by ${CLIENTS} clients are those of seats with one owner`,
  async ({ signal }) => {
    const system = await startSystem({ holdSeconds: 1 });
    const { database } = system.stores;
    const totals = { histories: 0, operations: 0, ok: 0, fail: 0, unknown: 0, grants: 0, violations: 0 };
    const alarms: { seed: number; rule: string; detail: string }[] = [];
    const idle: number[] = [];

    async function judge(seed: number): Promise<void> {
      const house = await addEvent(database, new Random(seed).int(4, 8));
      const history = await recordHistory({ url: system.url, database, ...house }, seed);
      const violations = checkHistory(history);
      const grants = history.final.reservations.length;
      alarms.push(...violations.map((violation) => ({ seed, ...violation })));
      if (grants < LEAST_GRANTS) idle.push(seed);
      totals.histories++;
      totals.operations += history.calls.length;
      totals.ok += countOf(history.calls, 'ok');
      totals.fail += countOf(history.calls, 'fail');
      totals.unknown += countOf(history.calls, 'unknown');
      totals.grants += grants;
      totals.violations += violations.length;
      console.error(`seed ${seed}: ${JSON.stringify(totals)}`);
    }

    let next = FIRST_SEED;
    const lane = async () => {
      while (next < FIRST_SEED + HISTORIES && !signal.aborted) await judge(next++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    await system.stop();

    console.table(totals);
    expect(alarms.slice(0, 20)).toEqual([]);
    expect({ withTooFewGrants: idle }).toEqual({ withTooFewGrants: [] });
    expect(totals.operations).toBeGreaterThanOrEqual(HISTORIES * OPERATIONS);
    expect(totals.unknown).toBeGreaterThan(HISTORIES);
  },
  120_000 + HISTORIES * 30_000,
);
