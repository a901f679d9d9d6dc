/** Three times what can be granted, for a minute. */
import { setTimeout as delay } from 'node:timers/promises';
import { targetOf, type Product } from './product.ts';
import { freshPairs, offer } from './scenarios.ts';
import type { Sample } from './load.ts';

const SECONDS = 60;
const RECOVERS_WITHIN_MS = 2_000;
const AFTER_SECONDS = 5;

export async function overload(product: Product, kneePerSecond: number, draw: (samples: Sample[]) => Promise<void>) {
  const nextSeats = freshPairs();
  const { step, samples } = await offer(targetOf(product), Math.round(kneePerSecond * 3), SECONDS, nextSeats);
  await draw(samples);
  await delay(RECOVERS_WITHIN_MS);
  const after = await offer(targetOf(product), Math.round(kneePerSecond / 2), AFTER_SECONDS, nextSeats);
  return { during: step, goodput_ratio: step.granted_per_second / kneePerSecond, two_seconds_later: after.step };
}
