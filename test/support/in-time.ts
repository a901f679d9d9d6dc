/** Limits on time, for a machine that may stand still: what every timer is late by is no fault of the product. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';

const RESOLUTION_MS = 5;

/** Watches how late timers are; what it returns ends that, and says how many milliseconds are to be allowed for it. */
export function watchLag(): () => Promise<number> {
  const lag = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  lag.enable();
  return async () => {
    await delay(2 * RESOLUTION_MS); // a lag is noted by a timer, which is late as well
    lag.disable();
    return 2 * (lag.max / 1e6);
  };
}

/** What is answered, and that it comes within so many milliseconds. */
export async function inTime<T>(limitMs: number, answer: Promise<T>): Promise<T> {
  const allowance = watchLag();
  const askedAt = performance.now();
  const reply = await answer;
  const took = performance.now() - askedAt;
  expect(took).toBeLessThan(limitMs + (await allowance()));
  return reply;
}
