import { expect, test } from 'vitest';
import { checkHistory } from './checker.ts';
import { CORRUPTIONS } from './corruptions.ts';
import { Random } from './random.ts';
import { simulateHistory } from './simulated.ts';

const seeds = Array.from({ length: 200 }, (_, n) => n + 1);
const histories = seeds.map((seed) => simulateHistory(seed));

test('200 histories of a correct box office raise no alarm', () => {
  const alarms = histories.flatMap((history, n) =>
    checkHistory(history).map((violation) => ({ seed: seeds[n], ...violation })),
  );
  expect(alarms).toEqual([]);
});

test.each(CORRUPTIONS)('$lie: found wherever it is planted', ({ breaks, plant }) => {
  const missed: number[] = [];
  let planted = 0;
  for (const [n, history] of histories.slice(0, 40).entries()) {
    const corrupted = structuredClone(history);
    if (!plant(corrupted, new Random(n))) continue;
    planted++;
    if (!checkHistory(corrupted).some(({ rule }) => rule === breaks)) missed.push(seeds[n] ?? 0);
  }
  expect({ missed }).toEqual({ missed: [] });
  expect(planted).toBeGreaterThan(4);
});
