import { setTimeout as delay } from 'node:timers/promises';

/**
 * Looks again and again until there is something to see; what a look throws is told when the time is over.
 * @param what named when the time is over
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
  withinMs = 10_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const isLast = Date.now() > deadline;
    const { seen, cause } = await look().then(
      (it) => ({ seen: it, cause: undefined }),
      (error: unknown) => ({ seen: undefined, cause: error }),
    );
    if (seen !== undefined && seen !== false) return seen;
    if (isLast) throw new Error(`not within ${withinMs} ms: ${what}`, { cause });
    await delay(20);
  }
}
