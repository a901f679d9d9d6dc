/** Histories of buyers who fight for few seats, judged; `npm run histories -- 500` for more of them. */
import { expect, test } from 'vitest';
import { Admission } from '../../api/admission.ts';
import { addEvent } from '../support/house.ts';
import { startSystem } from '../support/system.ts';
import { CLIENTS, OPERATIONS, SEATS, recordHistory } from './buyers.ts';
import { checkHistory } from './checker.ts';
import type { Call, Hold } from './history.ts';

const HISTORIES = Number(process.env['HISTORIES'] ?? 50);
const FIRST_SEED = Number(process.env['HISTORY_SEED'] ?? 1);

/** `npm run histories` shows how far it is. */
const IS_CAMPAIGN = process.env['HISTORIES'] !== undefined;

/** Each on an event of its own: while one waits for its holds to run out, the others use the machine. */
const AT_ONCE = 8;
const MOST_CALLS_SHOWN = 40;
/** Where fewer were granted, there was nothing to judge. */
const LEAST_GRANTS = 4;

/** So many holds take their turn together, for the races among them; the others meet a lock as a rule. */
const HOLDS_AT_ONCE = 2;

/** Nobody is sent away, however slow the machine is: of a hold that was not begun there is nothing to judge. */
class PatientDoor extends Admission {
  #free = HOLDS_AT_ONCE;
  readonly #queue: (() => void)[] = [];

  override async run<T>(hold: (waited: boolean) => Promise<T>): Promise<T> {
    const waits = this.#free === 0;
    if (waits) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#free--;
    try {
      return await hold(waits);
    } finally {
      const next = this.#queue.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

const countOf = (calls: Call[], type: Call['outcome']['type']) =>
  calls.filter(({ outcome }) => outcome.type === type).length;

/** The calls about a reservation, a buyer or (holds only) a seat that the evidence names, in the order of the calls. */
function callsNamedIn(detail: string, calls: Call[]): string[] {
  const named = new Set(detail.split(/[\s:,]+/));
  const names = (call: Call) => {
    if (call.name === 'map') return [];
    return call.name === 'hold' ? [call.user_id, ...reservationGot(call), ...call.seat_ids] : [call.reservation_id];
  };
  const isAbout = (call: Call) => names(call).some((name) => named.has(name));
  return calls
    .filter(
      (call) => isAbout(call) && (call.name !== 'hold' || call.outcome.type !== 'fail' || named.has(call.user_id)),
    )
    .sort((one, other) => one.invoked - other.invoked)
    .slice(0, MOST_CALLS_SHOWN)
    .map(({ name, process, invoked, answered, outcome, ...about }) =>
      JSON.stringify({ name, process, within: [invoked, answered], ...about, outcome }),
    );
}

const reservationGot = ({ outcome }: Hold) => (outcome.type === 'ok' ? [outcome.body.reservation_id] : []);

test(
  `${HISTORIES} histories of ${OPERATIONS} calls by ${CLIENTS} clients are those of seats with one owner`,
  async ({ signal }) => {
    const system = await startSystem({ holdSeconds: 1, admission: new PatientDoor({ isAway: false }) });
    const { database } = system.stores;
    const totals = { histories: 0, operations: 0, ok: 0, fail: 0, unknown: 0, grants: 0, violations: 0 };
    const alarms: { seed: number; rule: string; detail: string }[] = [];
    const idle: number[] = [];

    async function judge(seed: number): Promise<void> {
      const house = await addEvent(database, SEATS);
      const history = await recordHistory({ url: system.url, database, temporal: system.client, ...house }, seed);
      const violations = checkHistory(history);
      const grants = history.final.reservations.length;
      for (const { rule, detail } of violations) {
        console.error([`seed ${seed}: ${rule}: ${detail}`, ...callsNamedIn(detail, history.calls)].join('\n  '));
      }
      alarms.push(...violations.map((violation) => ({ seed, ...violation })));
      if (grants < LEAST_GRANTS) idle.push(seed);
      totals.histories++;
      totals.operations += history.calls.length;
      totals.ok += countOf(history.calls, 'ok');
      totals.fail += countOf(history.calls, 'fail');
      totals.unknown += countOf(history.calls, 'unknown');
      totals.grants += grants;
      totals.violations += violations.length;
      if (IS_CAMPAIGN) console.error(`seed ${seed}: ${JSON.stringify(totals)}`);
    }

    let next = FIRST_SEED;
    const lane = async () => {
      while (next < FIRST_SEED + HISTORIES && !signal.aborted) await judge(next++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    await system.stop();

    if (IS_CAMPAIGN) console.table(totals);
    expect(totals.histories).toBe(HISTORIES);
    expect(alarms.slice(0, 20)).toEqual([]);
    expect({ withTooFewGrants: idle }).toEqual({ withTooFewGrants: [] });
    expect(totals.operations).toBeGreaterThanOrEqual(HISTORIES * OPERATIONS);
    expect(totals.unknown).toBeGreaterThan(HISTORIES);
  },
  120_000 + HISTORIES * 30_000,
);
