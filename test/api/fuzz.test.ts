/** The API keeps what its OpenAPI document promises, whatever is sent. `npm run fuzz -- 20000 7` sends more, from seed 7. */
import { afterAll, expect, test } from 'vitest';
import { fuzz } from '../fuzz/fuzz.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { startSystem } from '../support/system.ts';
import { JWT_SECRET } from '../support/tokens.ts';

const CASES = Number(process.env['FUZZ_CASES'] ?? 2_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? 1);
const LONGEST_MS_PER_CASE = 150;
/** Payments go on when the last answer is there. */
const SETTLED_WITHIN_MS = 30_000;

const system = await startSystem({ holdSeconds: 60, settings: { JWT_SECRET, RATE_LIMIT_USER: 1_000_000 } });
afterAll(system.stop);

test(
  `${CASES} requests from seed ${SEED} are answered as documented`,
  { timeout: CASES * LONGEST_MS_PER_CASE },
  async () => {
    const { code, said, answers } = await fuzz(system.url, system.stores, { cases: CASES, seed: SEED });
    expect(code, said).toBe(0);
    expect(Object.values(answers).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(CASES);
    for (const deep of ['reservations 201', 'reservations 409', 'bookings 202']) {
      expect(answers).toHaveProperty([`POST /api/v1/${deep}`]);
    }
    await expectNoFaults(system.stores, SETTLED_WITHIN_MS);
  },
);
