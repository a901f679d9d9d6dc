import { ConfigError, readConfig, type Config } from './config.ts';
import { createLogger, type Logger } from './logger.ts';
import { keepTickShape } from './tick-shape.ts';

/** What a process runs until it is told to stop. */
export interface Service {
  /** Finishes what is under way and lets go of every connection. */
  stop(): Promise<void>;
}

/** Past this a stop is no longer clean: the process ends with exit code 1. */
const STOP_DEADLINE_MS = 20_000;
/** npm passes a signal on to us, which whoever signals the whole group has sent us too: what follows this soon is the same. */
export const SAME_SIGNAL_MS = 500;

/**
 * Runs one of our processes: reads the configuration, starts the service and tells a parent `ready`. SIGINT, SIGTERM
 * and the death of the parent stop it cleanly; a second signal ends it at once.
 */
export async function runProcess(
  name: string,
  start: (config: Config, log: Logger) => Promise<Service>,
): Promise<void> {
  keepTickShape();
  try {
    const config = readConfig(process.env);
    const log = createLogger(name, config.LOG_LEVEL);
    const service = await start(config, log);
    stopWhenTold(service, log);
    process.send?.('ready');
  } catch (error) {
    exitBecause(`${name} could not start`, error);
  }
}

/** Says in one line why a process ends here: a wrong setting says so itself. */
export function exitBecause(what: string, error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error);
  console.error(error instanceof ConfigError ? reason : `${what}: ${reason}`);
  process.exit(1);
}

function stopWhenTold(service: Service, log: Logger): void {
  let toldAt: number | undefined;
  const stop = (reason: string) => {
    if (toldAt !== undefined && Date.now() - toldAt > SAME_SIGNAL_MS) process.exit(1);
    if (toldAt !== undefined) return;
    toldAt = Date.now();
    log.info({ reason }, 'stopping');
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    service.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'the stop was not clean');
        process.exit(1);
      },
    );
  };
  process.on('SIGINT', () => stop('SIGINT'));
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('disconnect', () => stop('the parent process is gone'));
}
