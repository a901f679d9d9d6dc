/** A few of the faults of `npm run chaos`, each in the middle of a sale; the seeds are always the same. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBoxOffice, type BoxOffice } from './box-office.ts';
import { runTrial } from './trial.ts';

let office: BoxOffice;
beforeAll(async () => {
  office = await openBoxOffice(2);
});
afterAll(() => office.stop());

test.each([
  ['kill-pair', 3],
  ['black-hole', 12],
  ['webhooks', 12],
])(
  '%s, seed %i: nothing double, nothing lost, nothing stuck, and the sale goes on',
  async (kind, seed) => {
    const { faults, grants } = await runTrial(office, kind, seed);
    expect(faults).toEqual([]);
    expect(grants).toBeGreaterThan(0);
  },
  90_000,
);
