/** `node dist/db/main.js`: migrates and seeds, and ends. */
import { ConfigError, readSettings } from '../runtime/config.ts';
import { exitBecause } from '../runtime/process.ts';
import { prepareDatabase } from './prepare.ts';

try {
  const { DATABASE_URL, SEED_EVENTS } = readSettings(process.env);
  if (DATABASE_URL === undefined) throw new ConfigError('DATABASE_URL is not set: set it to the database to prepare');
  await prepareDatabase(DATABASE_URL, SEED_EVENTS);
} catch (error) {
  exitBecause('the database could not be prepared', error);
}
