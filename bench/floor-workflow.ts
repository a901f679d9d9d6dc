/** F2's workflow: a start, one local activity and a timer. The activity returns at once, or holds seats in F1 + F2. */
import { proxyLocalActivities, sleep } from '@temporalio/workflow';

export interface Attempt {
  event_id: string;
  seat_ids: string[];
  user_id: string;
}

const { act } = proxyLocalActivities<{ act(attempt?: Attempt): Promise<void> }>({ startToCloseTimeout: '3 seconds' });

export async function floor(holdMs: number, attempt?: Attempt): Promise<void> {
  await act(attempt);
  await sleep(holdMs);
}
