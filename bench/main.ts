/** `npm run bench`: measures the product against its floors in one run. */
import { prepareDatabase } from '../db/prepare.ts';
import { findKnee, freshPairs, type Target } from './scenarios.ts';
import { openStage } from './stage.ts';

const progress = (line: string) => console.error(line);

const stage = await openStage(progress);
await prepareDatabase(stage.services.database_url, 'on');
const rates = [20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 240, 280];

const floors = await stage.run('bench/floors.js');
const floor = (path: string): Target => ({ url: floors.url, path, pids: { ...stage.pids, node: floors.pid } });
await findKnee(floor('/f2'), rates, freshPairs(), progress);
await floors.stop();

const api = await stage.run('api/server.js', { HOLD_SECONDS: '30' });
const product: Target = { url: api.url, path: '/api/v1/reservations', pids: { ...stage.pids, node: api.pid } };
await findKnee(product, rates, freshPairs(), progress);
await api.stop();
await stage.stop();
