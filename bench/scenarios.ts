/** What the load does, and what is looked at. */
import { setTimeout as delay } from 'node:timers/promises';
import { cpuMsPerOperation, cpuSeconds } from './cpu.ts';
import { createClient, openLoop, type Client, type Sample } from './load.ts';
import { latenciesByKind, latenciesOf, medianOf, type Latencies } from './stats.ts';

/** The stadium's seats by number: 0 is the first seat of the first row. */
export const STADIUM = { event_id: 'demo-stadium', seats: 50_000 };

export const SEATS_PATH = `/api/v1/events/${STADIUM.event_id}/seats`;

export function stadiumSeat(n: number): string {
  const [block, rest] = [Math.floor(n / 2_500) + 1, n % 2_500];
  return `demo-stadium-block-${block}-${Math.floor(rest / 50) + 1}-${(rest % 50) + 1}`;
}

/** A target of attempts: where to send them and which processes it is made of. */
export interface Target {
  url: string;
  path: string;
  pids: Record<string, number>;
}

/** What one rate came to. */
export interface Step {
  offered_per_second: number;
  granted_per_second: number;
  granted: Latencies;
  by_kind: Record<string, Latencies>;
  cpu_ms_per_grant: Record<string, number>;
}

/** Seats that nobody has had yet, two at a time, so that every attempt can win. */
export function freshPairs() {
  let next = 0;
  return () => {
    const pair = [stadiumSeat(next % STADIUM.seats), stadiumSeat((next + 1) % STADIUM.seats)];
    next += 2;
    return pair;
  };
}

const attempt = async (client: Client, path: string, seat_ids: string[], n: number) =>
  String((await client.call('POST', path, { event_id: STADIUM.event_id, seat_ids, user_id: `buyer-${n}` })).status);

/** Offers one rate of attempts for some seconds. */
export async function offer(
  { url, path, pids }: Target,
  per_second: number,
  seconds: number,
  nextSeats: () => string[],
): Promise<{ step: Step; samples: Sample[] }> {
  const client = createClient(url);
  const before = cpuSeconds(pids);
  const startedAt = performance.now();
  const samples = await openLoop({ per_second, seconds, send: (n) => attempt(client, path, nextSeats(), n) });
  const elapsed = Math.max(seconds, (performance.now() - startedAt) / 1_000);
  client.close();
  const granted = samples.filter(({ kind }) => kind === '201');
  const step: Step = {
    offered_per_second: per_second,
    granted_per_second: Math.round((granted.length / elapsed) * 10) / 10,
    granted: latenciesOf(granted),
    by_kind: latenciesByKind(samples),
    cpu_ms_per_grant: cpuMsPerOperation(before, cpuSeconds(pids), granted.length),
  };
  return { step, samples };
}

const STEP_SECONDS = 8;
const SETTLE_MS = 1_500;
/** Until then the code is being compiled. */
const WARM_UP_SECONDS = 15;

const isWithin = ({ granted, granted_per_second, offered_per_second }: Step) =>
  granted.p99 <= 100 && granted_per_second >= offered_per_second * 0.9;

/** Raises the rate until twice in a row the p99 of grants passes 100 ms, or fewer than nine in ten are granted. */
export async function climb(
  target: Target,
  rates: number[],
  nextSeats: () => string[],
  progress: (line: string) => void,
): Promise<Step[]> {
  const steps: Step[] = [];
  await offer(target, rates[0] ?? 1, WARM_UP_SECONDS, nextSeats);
  for (const rate of rates) {
    const { step } = await offer(target, rate, STEP_SECONDS, nextSeats);
    steps.push(step);
    progress(
      `  ${target.path} at ${rate}/s: ${step.granted_per_second} granted/s, p50 ${step.granted.p50}, p99 ${step.granted.p99} ms, CPU ${JSON.stringify(step.cpu_ms_per_grant)}`,
    );
    if (steps.length > 1 && !steps.slice(-2).some(isWithin)) break;
    await delay(SETTLE_MS);
  }
  return steps;
}

/**
 * The knee: the most grants per second that kept p99 within its limit in most of the climbs. A slow second ends one climb
 * too soon, a lucky one lets it go on.
 */
export function kneeOf(climbs: Step[][]): number {
  const within = climbs.flatMap((steps) => steps.filter(isWithin));
  const most = within
    .map(({ offered_per_second }) => within.filter((step) => step.offered_per_second === offered_per_second))
    .filter((same) => same.length > climbs.length / 2)
    .map((same) => medianOf(same.map(({ granted_per_second }) => granted_per_second)));
  return Math.max(0, ...most);
}
