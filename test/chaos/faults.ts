/** The ways in which the product is hurt. Each returns when it is over and all is back. */
import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowNotFoundError } from '@temporalio/client';
import { PROCESSES, type BoxOffice, type ProcessName } from './box-office.ts';
import { runningReservations } from '../history/history.ts';
import type { Random } from '../history/random.ts';
import type { Sale } from './sale.ts';

/** What is hurt, what goes on meanwhile, and how it is hurt: all choices are the seed's. */
interface Scene {
  office: BoxOffice;
  sale: Sale;
  random: Random;
}

export interface Kind {
  strike: (scene: Scene) => Promise<void>;
  /** What the buyers pay with, where it is not the usual. */
  tokens?: readonly string[];
  /** Whether most who pay do so on the gateway's own page, of which it tells. */
  paidAtGateway?: boolean;
  /** Whether it brings back locks that were deleted, which then run out by themselves. */
  locksRunOut?: boolean;
  /** Why this machine cannot show it. */
  impossible?: (office: BoxOffice) => string | undefined;
}

/** What is written at once to fill a disk. */
const BLOCK = Buffer.alloc(8 * 1024 * 1024);

const kill =
  (name: ProcessName): Kind['strike'] =>
  ({ office }) =>
    office.crash(name);

async function killPair({ office, random }: Scene): Promise<void> {
  const [first, second] = random.sample(PROCESSES, 2);
  if (!first || !second) throw new RangeError('a pair is two');
  const killedFirst = office.crash(first);
  await delay(random.int(0, 600));
  await Promise.all([killedFirst, office.crash(second)]);
}

async function drain({ office, random }: Scene): Promise<void> {
  await office.crash(random.pick(['api', 'worker']), 'SIGTERM');
}

async function pause({ office, random }: Scene): Promise<void> {
  await office.pause(random.pick(PROCESSES), random.int(1_000, 4_000));
}

async function flushRedis({ office, random }: Scene): Promise<void> {
  for (let times = random.int(1, 3); times > 0; times--) {
    await office.redis.flushall();
    await delay(random.int(50, 500));
  }
}

async function failOverRedis({ office, random }: Scene): Promise<void> {
  await office.failOver(random.int(200, 1_200));
}

async function fillRedis({ office, random }: Scene): Promise<void> {
  await office.redis.config('SET', 'maxmemory', '1');
  await delay(random.int(800, 2_000));
  await office.redis.config('SET', 'maxmemory', '0');
}

/** One of the six links, or two at once. */
const pickLinks = ({ office: { links }, random }: Scene) =>
  random.sample([...Object.values(links.api), ...Object.values(links.worker)], random.int(1, 2));

async function slowLink(scene: Scene): Promise<void> {
  const [ms, forMs] = [scene.random.int(20, 400), scene.random.int(1_000, 2_500)];
  await Promise.all(pickLinks(scene).map((link) => link.delay(ms, forMs)));
}

async function blackHole(scene: Scene): Promise<void> {
  const forMs = scene.random.int(800, 3_000);
  await Promise.all(pickLinks(scene).map((link) => link.swallow(forMs)));
}

async function resetLink(scene: Scene): Promise<void> {
  const forMs = scene.random.int(100, 2_000);
  await Promise.all(pickLinks(scene).map((link) => link.refuse(forMs)));
}

/** Charges that were authorised are declined when they are to be captured: the gateway has voided them meanwhile. */
async function voidAuthorisations({ office, sale, random }: Scene): Promise<void> {
  const end = Date.now() + random.int(1_000, 2_500);
  while (Date.now() < end) {
    await office.database.query(
      `UPDATE sandbox_gateway.charges SET status = 'VOIDED' FROM reservations
       WHERE charges.reservation_id = reservations.reservation_id AND event_id = $1 AND charges.status = 'AUTHORIZED'`,
      [sale.event_id],
    );
    await delay(random.int(0, 5));
  }
}

/** The gateway tells as it likes, and may find nobody there, or Temporal away. */
async function tellWhileAway({ office, random }: Scene): Promise<void> {
  await delay(random.int(0, 1_500));
  if (random.chance(0.7)) await office.crash(random.pick(['api', 'Temporal']));
}

/** An operator ends some of what is running, in the Temporal UI. */
async function endWorkflows({ office, sale, random }: Scene, end: (id: string) => Promise<unknown>): Promise<void> {
  const until = Date.now() + random.int(500, 1_500);
  while (Date.now() < until) {
    for await (const { workflowId } of office.temporal.workflow.list({ query: runningReservations(sale.event_id) })) {
      if (random.chance(0.3)) await ignoreEnded(end(workflowId));
    }
    await delay(100);
  }
}

const cancelWorkflows = (scene: Scene) =>
  endWorkflows(scene, (id) => {
    scene.sale.noteRelease(id);
    return scene.office.temporal.workflow.getHandle(id).cancel();
  });

/** No code of theirs runs: what they had is for the auditor to find. */
const terminateWorkflows = (scene: Scene) =>
  endWorkflows(scene, (id) => {
    scene.sale.noteTermination(id);
    return scene.office.temporal.workflow.getHandle(id).terminate('ended by an operator');
  });

/** A workflow may end before it is told anything. */
async function ignoreEnded(request: Promise<unknown>): Promise<void> {
  await request.catch((error: unknown) => {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  });
}

/** PostgreSQL finds its disk full: neither a table nor its log can grow any longer. */
async function fillDisk({ office, random }: Scene): Promise<void> {
  if (office.disk === undefined) throw new Error('there is no disk that may be filled');
  const filler = join(office.disk, 'filler');
  const end = Date.now() + random.int(1_000, 3_000);
  try {
    while (Date.now() < end) {
      await appendFile(filler, BLOCK).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOSPC') throw error;
        return delay(20); // what PostgreSQL gives back is taken as well
      });
    }
  } finally {
    await rm(filler);
  }
}

/** Every kind by its name. */
export const KINDS: Readonly<Record<string, Kind>> = {
  'kill-api': { strike: kill('api') },
  'kill-worker': { strike: kill('worker') },
  'kill-postgres': { strike: kill('PostgreSQL') },
  'kill-redis': { strike: kill('Redis') },
  'kill-temporal': { strike: kill('Temporal') },
  'kill-pair': { strike: killPair },
  drain: { strike: drain },
  pause: { strike: pause },
  'redis-flush': { strike: flushRedis },
  'redis-failover': { strike: failOverRedis, locksRunOut: true },
  'redis-full': { strike: fillRedis },
  latency: { strike: slowLink },
  'black-hole': { strike: blackHole },
  reset: { strike: resetLink },
  gateway: { strike: voidAuthorisations, tokens: ['tok_visa', 'tok_slow', 'tok_flaky', 'tok_lost_reply'] },
  webhooks: { strike: tellWhileAway, paidAtGateway: true },
  'operator-cancels': { strike: cancelWorkflows },
  'operator-terminates': { strike: terminateWorkflows },
  'disk-full': {
    strike: fillDisk,
    impossible: ({ disk }) => (disk === undefined ? 'a small disk can be mounted by root on Linux only' : undefined),
  },
};
