/**
 * `npm run audit`: compares what the stores say of every event, or of one (`npm run audit -- demo-theatre`), and
 * changes nothing. Ends with code 0 where nothing is wrong, 1 where something is, 2 where it could not look.
 */
import { once } from 'node:events';
import { Client, Connection } from '@temporalio/client';
import { ConfigError, readConfig } from '../runtime/config.ts';
import { connectPostgres, connectRedis } from '../runtime/connections.ts';
import { createLogger } from '../runtime/logger.ts';
import { inspectEvent, type EventFaults, type Inspected } from './inspect.ts';

const CONNECT_WITHIN_MS = 3_000;
const MAX_EVENTS = 1_000;
const IDS_SHOWN = 10;

const config = readSettings();

function readSettings() {
  try {
    return readConfig(process.env);
  } catch (error) {
    if (error instanceof ConfigError) fail(error.message);
    throw error;
  }
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

const failAs = (store: string, error: unknown) =>
  fail(`${store} does not answer: ${error instanceof Error ? error.message : String(error)}`);

/** What a store answers; where it does not, the command ends with its name. */
const answerOf = <T>(store: string, answer: Promise<T>): Promise<T> =>
  answer.catch((error: unknown) => failAs(store, error));

async function connect(): Promise<Inspected> {
  const log = createLogger('audit', 'silent');
  const database = connectPostgres(config.DATABASE_URL, 2, log);
  await answerOf('PostgreSQL', database.query('SELECT 1'));
  const redis = connectRedis(config.REDIS_URL, log);
  await answerOf('Redis', once(redis, 'ready', { signal: AbortSignal.timeout(CONNECT_WITHIN_MS) }));
  const connection = await answerOf(
    'Temporal',
    Connection.connect({ address: config.TEMPORAL_ADDRESS, connectTimeout: CONNECT_WITHIN_MS }),
  );
  return { database, redis, temporal: new Client({ connection, namespace: config.TEMPORAL_NAMESPACE }) };
}

function print(eventId: string, faults: EventFaults): void {
  console.log(eventId);
  for (const [kind, ids] of Object.entries(faults)) {
    const shown = ids.slice(0, IDS_SHOWN).join(', ');
    const more = ids.length > IDS_SHOWN ? `, and ${ids.length - IDS_SHOWN} more` : '';
    console.log(`  ${kind.padEnd(20)}${String(ids.length).padStart(6)}  ${shown}${more}`.trimEnd());
  }
}

const inspected = await connect();
const [wanted] = process.argv.slice(2);
const { rows } = await answerOf(
  'PostgreSQL',
  inspected.database.query<{ event_id: string }>(
    'SELECT event_id FROM events WHERE $1::varchar IS NULL OR event_id = $1 ORDER BY date DESC, event_id LIMIT $2',
    [wanted, MAX_EVENTS],
  ),
);
if (wanted !== undefined && rows.length === 0) fail(`there is no event ${wanted}`);
let count = 0;
for (const { event_id } of rows) {
  const { faults, failures } = await inspectEvent(inspected, event_id);
  print(event_id, faults);
  if (failures.length > 0) failAs(`a store asked about ${event_id}`, failures[0]);
  count += Object.values(faults).flat().length;
}
console.log(count === 0 ? 'nothing is wrong' : `${count} wrong`);
process.exit(count === 0 ? 0 : 1);
