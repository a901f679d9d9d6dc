import { setTimeout as delay } from 'node:timers/promises';
import type { Call } from '../history/history.ts';
import type { BoxOffice } from './box-office.ts';
import { KINDS, type Kind } from './faults.ts';
import { Random } from '../history/random.ts';
import { USUAL_TOKENS, fork, now, openSale } from './sale.ts';

/** The sale goes on by itself this soon after all is back. */
const RECOVERY_MS = 10_000;
/** Buyers come before the fault, and for a while after it. */
const BEFORE_MS = [600, 1_800] as const;
const AFTER_MS = 600;

/** What came of one fault in one sale. */
export interface Trial {
  kind: string;
  seed: number;
  operations: number;
  grants: number;
  unknown: number;
  /** From when all was back to the next hold that was acknowledged. */
  recovery_ms: number;
  /** What should not have been. */
  faults: string[];
  /** What the buyers saw. */
  calls: Call[];
}

export function kindNamed(name: string): Kind {
  const kind = KINDS[name];
  if (!kind) throw new RangeError(`there is no kind ${name}: it is one of ${Object.keys(KINDS).join(', ')}`);
  return kind;
}

/** Hurts the box office once while it sells. The same seed makes the same choices. */
export async function runTrial(office: BoxOffice, name: string, seed: number): Promise<Trial> {
  const { strike, tokens = USUAL_TOKENS, paidAtGateway = false, locksRunOut = false } = kindNamed(name);
  const random = new Random(seed);
  const sale = await openSale(office, fork(random), { tokens, paidAtGateway, locksRunOut });
  const faults: string[] = [];
  await delay(random.int(...BEFORE_MS));
  await strike({ office, sale, random: fork(random) }).catch((error: unknown) => {
    faults.push(`it was not all back: ${String(error)}`);
  });
  const recovery = await sale.nextGrant(now(), RECOVERY_MS);
  if (recovery === undefined) faults.push(`nothing was sold within ${RECOVERY_MS} ms after all was back`);
  await delay(AFTER_MS);
  faults.push(...(await sale.close()));
  const { calls } = sale.recorder;
  return {
    kind: name,
    seed,
    operations: calls.length,
    grants: sale.grants(),
    unknown: calls.filter(({ outcome }) => outcome.type === 'unknown').length,
    recovery_ms: recovery ?? RECOVERY_MS,
    faults,
    calls,
  };
}
