/** `npm start`: the embedded services, the worker and the API, until Ctrl-C. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { prepareDatabase } from '../db/prepare.ts';
import { readSettings, requireKeyOrLoopback, type Settings } from '../runtime/config.ts';
import { SAME_SIGNAL_MS } from '../runtime/process.ts';
import { ENVIRONMENT, FAST_WORKFLOWS, HEAP_LIMIT } from './as-in-production.ts';
import { DataDir } from './data-dir.ts';
import { freePort, listenProblem } from './ports.ts';
import { startServices, type Services, type ServicesOptions } from './services.ts';
import { StartError } from './start-error.ts';
import { saysReady, supervise, type Stoppable } from './supervise.ts';

const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 15_000;
const PREFERRED_PORTS = { postgres: 54320, redis: 63790, temporal: 7233, temporal_ui: 8233 };

/** What has been started, or is starting; to be stopped in the reverse order. */
const started: Stoppable[] = [];

const stopping = new AbortController();

const log = (line: string) => console.error(line);

async function start(): Promise<void> {
  const settings = readSettings(process.env);
  requireKeyOrLoopback(settings);
  const dataDir = await DataDir.acquire(settings.DATA_DIR, log);
  started.push({ stop: () => dataDir.release() });
  const port = await apiPort(settings);
  const services = await keep(() => startServices(servicesOptions(settings, dataDir, port)));
  await keep(async () => {
    await prepareDatabase(services.database_url, settings.SEED_EVENTS);
    return { stop: async () => undefined };
  });
  const environment = childEnvironment(services, port);
  await keep(() => startChild(dataDir, 'worker', '../worker/main.js', environment));
  await keep(() => startChild(dataDir, 'api', '../api/server.js', environment));
  stopping.signal.throwIfAborted();
  announce(urlOf(settings, port), services);
}

/** Starts something that is stopped at the end, also when the end comes while it starts. */
function keep<Started extends Stoppable>(launch: () => Promise<Started>): Promise<Started> {
  stopping.signal.throwIfAborted();
  const starting = launch();
  started.push({
    stop: () =>
      starting.then(
        (it) => it.stop(),
        () => undefined,
      ),
  });
  return starting;
}

const urlOf = ({ HOST }: Settings, port: number) => `http://${HOST.includes(':') ? `[${HOST}]` : HOST}:${port}`;

function servicesOptions(settings: Settings, dataDir: DataDir, port: number): ServicesOptions {
  return {
    dataDir,
    log,
    given: {
      database_url: settings.DATABASE_URL,
      redis_url: settings.REDIS_URL,
      redis_cache_url: settings.REDIS_CACHE_URL,
      temporal_address: settings.TEMPORAL_ADDRESS,
    },
    preferredPorts: PREFERRED_PORTS,
    portsOfOthers: [port],
    namespaces: [settings.TEMPORAL_NAMESPACE],
    codecUrl: settings.ENCRYPTION_KEY === undefined ? undefined : `${urlOf(settings, port)}/codec`,
  };
}

/** Settled here, not by the API: it is then the same after the API was started again, and in use is found out early. */
async function apiPort({ HOST, PORT }: Settings): Promise<number> {
  const problem = await listenProblem(HOST, PORT);
  if (problem === 'EADDRINUSE') throw new StartError(`port ${PORT} is in use already: set PORT to another one`);
  if (problem) throw new StartError(`cannot listen on ${HOST} port ${PORT} (${problem}): set HOST or PORT to others`);
  return PORT === 0 ? freePort() : PORT;
}

/** The Temporal UI's page asks the API to decrypt, under whichever name it was opened. */
function uiOrigins({ temporal_ui_url }: Services): string[] {
  return temporal_ui_url ? [temporal_ui_url, temporal_ui_url.replace('127.0.0.1', 'localhost')] : [];
}

function childEnvironment(services: Services, port: number): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PORT: String(port),
    DATABASE_URL: services.database_url,
    REDIS_URL: services.redis_url,
    TEMPORAL_ADDRESS: services.temporal_address,
    CORS_ORIGINS: [process.env['CORS_ORIGINS'], ...uiOrigins(services)].join(),
    LOG_LEVEL: process.env['LOG_LEVEL'] ?? 'warn', // a person reads along
    ...ENVIRONMENT,
  };
}

/** A process of ours, which says `ready` over a channel whose end tells it that we are gone. */
function startChild(dataDir: DataDir, name: string, file: string, env: NodeJS.ProcessEnv): Promise<Stoppable> {
  const title = `--title=holdfast ${name} ${dataDir.path}`;
  return supervise({
    name,
    command: [process.execPath, title, HEAP_LIMIT, ...FAST_WORKFLOWS, fileURLToPath(new URL(file, import.meta.url))],
    options: { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    ready: saysReady,
    readyWithinMs: READY_WITHIN_MS,
    stopSignal: 'SIGTERM',
    stopWithinMs: STOP_WITHIN_MS,
    onSpawn: (pid) => dataDir.notePid(name, pid),
    hint: 'see above',
    log,
  });
}

function announce(apiUrl: string, { temporal_ui_url }: Services): void {
  if (temporal_ui_url) console.log(`Temporal UI ${temporal_ui_url}`);
  console.log(`API docs ${apiUrl}/docs`);
  console.log(`ready ${apiUrl}`);
}

/** The first signal asks everything to stop; the next one stops it at once, by way of the exit. */
function heedSignals(): void {
  let first: number | undefined;
  const onSignal = () => {
    first ??= Date.now();
    if (Date.now() - first > SAME_SIGNAL_MS) process.exit(130);
    stopping.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, onSignal);
}

async function stopAll(): Promise<void> {
  for (let last = started.pop(); last; last = started.pop()) await last.stop();
}

heedSignals();
const signalled = once(stopping.signal, 'abort');
try {
  await Promise.race([start(), signalled]);
  await signalled;
} catch (error) {
  log(`cannot start: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
await stopAll();
process.exit();
