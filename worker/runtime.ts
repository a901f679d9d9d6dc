import { DefaultLogger, Runtime } from '@temporalio/worker';
import type { Logger } from '../runtime/logger.ts';

/** Temporal's SDK in this process: its warnings and errors become lines of our own log, and signals stay ours. */
export function installTemporalRuntime(log: Logger): void {
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) =>
      level === 'ERROR' ? log.error({ ...meta }, message) : log.warn({ ...meta }, message),
    ),
  });
}
