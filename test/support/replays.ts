import type { Client } from '@temporalio/client';
import { Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { installQuietRuntime } from './temporal-runtime.ts';

let before: Promise<unknown> = Promise.resolve();

/**
 * Replays the reservations' histories, as another worker does after a crash of theirs. One call after the other: the
 * SDK's runtime ends with its last worker, even while another is being made.
 * @param query which of them, in Temporal's list filter
 * @returns how many there are; and of each that does not replay why, with its history, an event a line
 */
export function replayReservations(client: Client, workflowBundle: WorkflowBundleOption, query?: string) {
  const replaying = before.then(() => replay(client, workflowBundle, query));
  before = replaying.catch(() => undefined);
  return replaying;
}

async function replay(client: Client, workflowBundle: WorkflowBundleOption, query?: string) {
  installQuietRuntime();
  const filter = ["WorkflowType = 'reservation'", ...(query === undefined ? [] : [query])].join(' AND ');
  const histories = client.workflow.list({ query: filter }).intoHistories();
  const failed: string[] = [];
  let count = 0;
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowBundle }, histories)) {
    count++;
    if (!error) continue;
    const { events } = await client.workflow.getHandle(workflowId).fetchHistory();
    const lines = (events ?? []).map((event) => JSON.stringify(event));
    failed.push([`${workflowId} does not replay: ${error.message}`, ...lines].join('\n'));
  }
  return { count, failed };
}
