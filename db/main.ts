/** `node dist/db/main.js`: migrates and seeds, and ends. */
import { readConfig } from '../runtime/config.ts';
import { prepareDatabase } from './prepare.ts';

const config = readConfig(process.env);
await prepareDatabase(config.DATABASE_URL, config.SEED_EVENTS);
