import { DefaultLogger, Runtime } from '@temporalio/worker';

let runtime: Runtime | undefined;

/** Temporal's SDK in this process, before its first use: it says what failed and no more, and signals stay ours. */
export function installQuietRuntime(): void {
  runtime ??= Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } },
  });
}
