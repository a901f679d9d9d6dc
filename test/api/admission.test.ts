import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Admission } from '../../api/admission.ts';
import { Problem } from '../../api/problems.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const redis = { isAway: false };
afterEach(() => (redis.isAway = false));

/** A hold that takes this long. */
const hold = (ms: number) => () =>
  new Promise<{ status: string }>((resolve) => setTimeout(resolve, ms, { status: 'HELD' }));

/** A machine that does one hold in 10 ms, whatever the number at once. */
const shared = (admission: Admission) => () => hold(10 * admission.underWay)();

const outcome = (held: Promise<{ status: string }>) =>
  held
    .then(({ status }) => status)
    .catch((error: unknown) => (error instanceof Problem ? `${error.code} ${error.headers['retry-after']}` : 'ERROR'));

/** Attempts at a steady rate; answers their outcomes so far. */
async function offer(admission: Admission, perSecond: number, seconds: number, work = shared(admission)) {
  const outcomes: string[] = [];
  for (let n = 0; n < perSecond * seconds; n++) {
    void outcome(admission.run(work)).then((it) => outcomes.push(it));
    await vi.advanceTimersByTimeAsync(1_000 / perSecond);
  }
  return outcomes;
}

test('quick holds raise the limit while they fill it', async () => {
  const admission = new Admission(redis);
  const before = admission.limit;
  await offer(admission, 500, 4, hold(20));
  expect(admission.limit).toBeGreaterThan(before);
});

test('slow holds lower it, but never to nothing', async () => {
  const admission = new Admission(redis);
  await offer(admission, 500, 4, hold(20));
  await offer(admission, 100, 20, hold(300));
  expect(admission.limit).toBe(1);
});

test('slow holds that come one at a time do not lower it', async () => {
  const admission = new Admission(redis);
  await offer(admission, 500, 4, hold(20));
  const before = admission.limit;
  await offer(admission, 3, 20, hold(300));
  expect(admission.limit).toBe(before);
});

test('in an overload a place rests where even one hold at a time is slow', async () => {
  const admission = new Admission(redis);
  await offer(admission, 100, 1, hold(10));
  await offer(admission, 100, 10, hold(50));
  const outcomes = await offer(admission, 100, 10, hold(50));
  const held = outcomes.filter((it) => it === 'HELD').length;
  expect(held).toBeGreaterThan(40); // of the two hundred that would follow each other without a rest
  expect(held).toBeLessThan(60);
});

test('without an overload no place rests', async () => {
  const admission = new Admission(redis);
  await offer(admission, 100, 1, hold(10)); // so that what follows is slow
  for (let n = 0; n < 50; n++) {
    const held = outcome(admission.run(hold(50)));
    await vi.advanceTimersByTimeAsync(50);
    expect(await held).toBe('HELD');
    expect(admission.underWay).toBe(0);
  }
});

test('holds that take long because a service is far away are not slow', async () => {
  const admission = new Admission(redis);
  const before = admission.limit;
  await offer(admission, 200, 10, hold(80));
  expect(admission.limit).toBeGreaterThan(before + 4);
});

test.each([
  ['refused at once', () => Promise.reject(new Problem('SEATS_UNAVAILABLE', 'taken meanwhile'))],
  ['refused by its workflow', async () => ({ ...(await hold(10)()), status: 'REFUSED' })],
])('nor are they where one was %s', async (_what, quick) => {
  const admission = new Admission(redis);
  await offer(admission, 100, 10, hold(60));
  await offer(admission, 100, 0.03, quick);
  const outcomes = await offer(admission, 150, 10, hold(60)); // more at once than before
  expect(outcomes.filter((it) => it === 'HELD').length).toBeGreaterThan(1_400);
});

test('a burst waits for its turn and is served whole', async () => {
  const admission = new Admission(redis);
  const burst = Promise.all(Array.from({ length: 200 }, () => outcome(admission.run(hold(30)))));
  await vi.advanceTimersByTimeAsync(1_500);
  expect(new Set(await burst)).toEqual(new Set(['HELD']));
  expect(admission.underWay).toBe(0);
});

test('who waited is told so', async () => {
  const admission = new Admission(redis);
  const waited: boolean[] = [];
  const all = Array.from({ length: 12 }, () =>
    admission.run(async (it) => {
      waited.push(it);
      return hold(10)();
    }),
  );
  await vi.advanceTimersByTimeAsync(100);
  await Promise.all(all);
  expect(waited.filter(Boolean)).toHaveLength(10);
});

test('clients that wait for their answer before they ask again are never too many', async () => {
  const admission = new Admission(redis);
  const outcomes = new Set<string>();
  const client = async () => {
    for (let n = 0; n < 20; n++) outcomes.add(await outcome(admission.run(shared(admission))));
  };
  const clients = Promise.all(Array.from({ length: 60 }, client));
  await vi.advanceTimersByTimeAsync(30_000);
  await clients;
  expect(outcomes).toEqual(new Set(['HELD']));
});

test('in an overload the surplus is refused at once, with the time at which a retry has a chance', async () => {
  const admission = new Admission(redis);
  await offer(admission, 333, 2);
  const outcomes = await offer(admission, 333, 10);
  const held = outcomes.filter((it) => it === 'HELD').length;
  const refused = outcomes.filter((it) => /^OVERLOADED [3-4]$/.test(it)).length;
  expect(held).toBeGreaterThan(900);
  expect(refused).toBeGreaterThan(2_000);
  expect(admission.underWay).toBeLessThan(10);
});

test('also where only a few too many come, those admitted do not wait', async () => {
  const admission = new Admission(redis);
  await offer(admission, 130, 5);
  const outcomes = await offer(admission, 130, 10);
  expect(outcomes.filter((it) => it === 'HELD').length).toBeGreaterThan(850);
  expect(outcomes.filter((it) => it.startsWith('OVERLOADED')).length).toBeGreaterThan(100);
  expect(admission.underWay).toBeLessThan(10);
});

test('after an overload the next buyers are served within two seconds', async () => {
  const admission = new Admission(redis);
  await offer(admission, 400, 3);
  await vi.advanceTimersByTimeAsync(2_000);
  const later = Promise.all(Array.from({ length: 20 }, () => outcome(admission.run(hold(30)))));
  await vi.advanceTimersByTimeAsync(1_500);
  expect(new Set(await later)).toEqual(new Set(['HELD']));
});

test('while Redis is away half as many are let in at once, however quick they are', async () => {
  const admission = new Admission(redis);
  await offer(admission, 500, 4, hold(20));
  const usual = admission.limit;
  redis.isAway = true;
  const underWay: number[] = [];
  const noting = () => {
    underWay.push(admission.underWay);
    return hold(20)();
  };
  const outcomes = await offer(admission, 500, 4, noting);
  expect(Math.max(...underWay)).toBe(Math.floor(usual / 2));
  expect(outcomes).toContain('HELD');
  redis.isAway = false;
  expect(admission.limit).toBe(usual);
});

test('while Redis is away a slow moment is made good again, up to that half', async () => {
  const admission = new Admission(redis);
  await offer(admission, 500, 4, hold(20));
  const usual = admission.limit;
  redis.isAway = true;
  await offer(admission, 400, 3, hold(260));
  expect(admission.limit).toBeLessThan(usual / 4);
  await offer(admission, 400, 20, hold(10));
  expect(admission.limit).toBe(Math.floor(usual / 2));
});

test('a hold that fails gives its place back', async () => {
  const admission = new Admission(redis);
  for (let n = 0; n < 50; n++) {
    await expect(admission.run(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  }
  expect(admission.underWay).toBe(0);
});
