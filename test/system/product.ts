/** The product as an operator runs it: `npm start`, with a data folder and a port of its own. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectPostgres, connectRedis } from '../../runtime/connections.ts';
import { freePort } from '../../dev/ports.ts';
import { buyerAt } from '../support/buyer.ts';
import { npm } from '../support/command.ts';
import { log } from '../support/stores.ts';

/** What `npm start` notes in its data folder. */
interface Services {
  owner_pid: number;
  database_url: string;
  redis_url: string;
  temporal_address: string;
  pids: Record<string, number>;
}

export type Product = Awaited<ReturnType<typeof startProduct>>;

const endings: (() => Promise<unknown>)[] = [];

export const makeDataDir = () => mkdtemp(join(tmpdir(), 'holdfast-system-'));

/** Ends every start in the folder, also one that came to nothing. */
export async function removeDataDir(dataDir: string): Promise<void> {
  await Promise.all(endings.map((end) => end()));
  await rm(dataDir, { recursive: true });
}

/** @param dataDir the folder of an earlier start, or an empty one */
export async function startProduct(dataDir: string, settings: Record<string, string>) {
  const port = await freePort();
  const command = npm(['start'], { DATA_DIR: dataDir, PORT: String(port), ...settings });
  endings.push(command.stop);
  const url = (await command.says('ready ')).slice('ready '.length);
  const services = async (): Promise<Services> => JSON.parse(await readFile(join(dataDir, 'services.json'), 'utf8'));
  const { database_url, redis_url, temporal_address } = await services();
  const database = connectPostgres(database_url, 2, log);
  const redis = connectRedis(redis_url, log);
  endings.push(disconnect);

  async function disconnect() {
    redis.disconnect();
    if (!database.ended) await database.end();
  }

  return {
    command,
    url,
    buyer: buyerAt(url),
    temporalAddress: temporal_address,
    stores: { database, redis },
    /** Kills one of its processes, and returns when the successor is ready. */
    async crash(name: string) {
      const pid = (await services()).pids[name];
      if (pid === undefined) throw new Error(`${name} does not run`);
      process.kill(pid, 'SIGKILL');
      await command.says(`${name} is back`);
    },
    /** Kills the process that started, and would have stopped, the others. */
    async kill() {
      process.kill((await services()).owner_pid, 'SIGKILL');
      await Promise.all([command.ended, disconnect()]);
    },
    async stop() {
      await disconnect();
      return command.stop();
    },
  };
}
