import proto from '@temporalio/proto';
import type { NativeConnection } from '@temporalio/worker';
import { searchAttributes } from '../workflows/messages.ts';

const TEMPORAL_DEADLINE_MS = 10_000;

const { INDEXED_VALUE_TYPE_KEYWORD } = proto.temporal.api.enums.v1.IndexedValueType;

/** Makes the search attributes known to a Temporal server that lacks them; where it has them nothing changes. */
export async function registerSearchAttributes(connection: NativeConnection, namespace: string): Promise<void> {
  await connection.withDeadline(Date.now() + TEMPORAL_DEADLINE_MS, async () => {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    const missing = Object.keys(searchAttributes).filter((name) => !(name in customAttributes));
    if (missing.length === 0) return;
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map((name) => [name, INDEXED_VALUE_TYPE_KEYWORD])),
    });
  });
}
