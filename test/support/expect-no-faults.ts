import { expect } from 'vitest';
import { NO_FAULTS, findFaults } from '../../audit/sweep.ts';
import type { Stores } from './stores.ts';

/**
 * Every seat, lock and charge is accounted for as soon as nothing is under way: a buyer has the answer before the
 * workflow has deleted its locks.
 */
export const expectNoFaults = (stores: Pick<Stores, 'database' | 'redis'>, withinMs = 20_000): Promise<void> =>
  expect.poll(() => findFaults(stores), { timeout: withinMs, interval: 50 }).toEqual(NO_FAULTS);
