/** F2's workflow: a start, one local activity that returns at once, and a timer. */
import { proxyLocalActivities, sleep } from '@temporalio/workflow';

const { nothing } = proxyLocalActivities<{ nothing(): Promise<void> }>({ startToCloseTimeout: '3 seconds' });

export async function floor(holdMs: number): Promise<void> {
  await nothing();
  await sleep(holdMs);
}
