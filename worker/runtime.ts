import { DefaultLogger, Runtime } from '@temporalio/worker';
import type { Logger } from '../runtime/logger.ts';

/**
 * Temporal's SDK in this process: its warnings and errors become lines of our own log, those of its native core too, and
 * signals stay ours. What it warns of in the life of a worker (one without workflows polls for none) is as it should be.
 */
export function installTemporalRuntime(log: Logger): void {
  Runtime.install({
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} } },
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      if (level === 'ERROR') log.error({ ...meta }, message);
      else if (meta?.['sdkComponent'] === 'worker') log.debug({ ...meta }, message);
      else log.warn({ ...meta }, message);
    }),
  });
}
