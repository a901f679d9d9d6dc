/**
 * `npm run chaos`: hurts the product while it sells, in every way of `faults.ts`, and looks whether it kept its
 * promises. `npm run chaos -- 20` for so many trials of each kind, `-- --kind kill-redis --seed 7` for one of them again.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBoxOffice, type BoxOffice } from './box-office.ts';
import { KINDS } from './faults.ts';
import { kindNamed, runTrial, type Trial } from './trial.ts';

const REPORT = 'docs/chaos.json';
const TRIALS = 20;
const HOLD_SECONDS = 3;
/** Box offices side by side: most of a trial is waiting. */
const LANES = 4;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { kind: { type: 'string' }, seed: { type: 'string' } },
});
const kinds = values.kind === undefined ? Object.keys(KINDS) : [values.kind];
kinds.forEach(kindNamed);
const firstSeed = Number(values.seed ?? randomInt(1_000_000));
const rounds = Number(positionals[0] ?? (values.seed === undefined ? TRIALS : 1));

const planned = Array.from({ length: rounds }, (_, round) => kinds.map((kind) => ({ kind, seed: firstSeed + round })));
const queue = planned.flat();
const total = queue.length;
const trials: Trial[] = [];
const skipped = new Map<string, string>();

process.setMaxListeners(0); // each supervised process is killed at our exit

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interrupted.abort());
const interruption = once(interrupted.signal, 'abort').then(() => undefined);

/** One box office for one trial after the other; a new one where something was found, so that the next is not misled. */
async function runLane(): Promise<void> {
  let office: BoxOffice | undefined;
  for (let next = queue.shift(); next && !interrupted.signal.aborted; next = queue.shift()) {
    office ??= await openBoxOffice(HOLD_SECONDS);
    const reason = kindNamed(next.kind).impossible?.(office);
    if (reason !== undefined) {
      skipped.set(next.kind, reason);
      continue;
    }
    const trial = await Promise.race([runTrial(office, next.kind, next.seed), interruption]);
    if (!trial) break;
    trials.push(trial);
    tell(trial);
    if (trial.faults.length > 0) {
      await keepEvidence(office, trial);
      await office.stop();
      office = undefined;
    }
  }
  await office?.stop();
}

/** What the buyers saw and what the processes said. */
async function keepEvidence(office: BoxOffice, { kind, seed, calls }: Trial): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), `holdfast-chaos-${kind}-${seed}-`));
  await writeFile(join(folder, 'calls.json'), JSON.stringify(calls, null, 1));
  await office.copyLogs(folder);
  console.log(`    evidence: ${folder}`);
}

const seconds = (ms: number) => (ms / 1_000).toFixed(1);

function tell({ kind, seed, operations, grants, unknown, recovery_ms, faults }: Trial): void {
  const what = `${operations} operations, ${grants} grants, ${unknown} unknown, sold again after ${seconds(recovery_ms)} s`;
  console.log(`${trials.length}/${total} ${kind} seed ${seed}: ${what}`);
  if (faults.length === 0) return;
  for (const fault of faults) console.log(`    FAULT ${fault}`);
  console.log(`    again: npm run chaos -- --kind ${kind} --seed ${seed}`);
}

const sum = (of: Trial[], name: 'operations' | 'grants' | 'unknown') => of.reduce((all, trial) => all + trial[name], 0);

const row = (kind: string, of: Trial[]) => ({
  kind,
  trials: of.length,
  operations: sum(of, 'operations'),
  grants: sum(of, 'grants'),
  unknown: sum(of, 'unknown'),
  'slowest recovery, s': seconds(Math.max(0, ...of.map(({ recovery_ms }) => recovery_ms))),
  faults: of.reduce((all, { faults }) => all + faults.length, 0),
});

function report() {
  const tried = kinds.filter((kind) => trials.some((trial) => trial.kind === kind));
  const rows = tried.map((kind) =>
    row(
      kind,
      trials.filter((trial) => trial.kind === kind),
    ),
  );
  return [...rows, row('all', trials)];
}

console.log(`${total} trials from seed ${firstSeed}, ${LANES} at a time`);
const startedAt = performance.now();
await Promise.all(Array.from({ length: Math.min(LANES, total) }, runLane));

const rows = report();
console.table(rows);
for (const [kind, reason] of skipped) console.log(`${kind} was not tried: ${reason}`);
console.log(`${((performance.now() - startedAt) / 60_000).toFixed(1)} minutes`);
const isWhole = values.kind === undefined && !interrupted.signal.aborted;
if (isWhole) {
  const at = new Date().toISOString();
  await writeFile(REPORT, `${JSON.stringify({ at, first_seed: firstSeed, rows, skipped: [...skipped] }, null, 2)}\n`);
}
const failed = trials.some(({ faults }) => faults.length > 0);
process.exit(interrupted.signal.aborted ? 130 : Number(failed));
