/** An API that asks who calls, and holds seats; no worker takes payments. */
import { readSettings } from '../../runtime/config.ts';
import type { Logger } from '../../runtime/logger.ts';
import { buyerAt } from './buyer.ts';
import { openStores } from './stores.ts';
import { startApi } from './system.ts';
import { JWT_SECRET, tokenFor } from './tokens.ts';

/** One user may write as often as a test likes. */
const UNHURRIED = { JWT_SECRET, RATE_LIMIT_USER: '1000000' };

export const guarded = (settings: NodeJS.ProcessEnv = {}) => readSettings({ ...UNHURRIED, ...settings });

export type GuardedApi = Awaited<ReturnType<typeof startGuardedApi>>;

export async function startGuardedApi(settings: NodeJS.ProcessEnv = {}, log?: Logger) {
  const stores = await openStores();
  const api = await startApi(stores, 600, undefined, guarded(settings), log);
  return {
    url: api.url,
    stores,
    as: async (user: string) => buyerAt(api.url, await tokenFor(user)),
    async stop() {
      await api.stop();
      await stores.close();
    },
  };
}
