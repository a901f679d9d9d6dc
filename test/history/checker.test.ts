import { describe, expect, test } from 'vitest';
import { checkHistory } from './checker.ts';
import { CORRUPTIONS, granted } from './corruptions.ts';
import type { Call, FinalReservation, History, Pay } from './history.ts';
import { Random } from './random.ts';
import { simulateHistory } from './simulated.ts';

const seeds = Array.from({ length: 200 }, (_, n) => n + 1);
const histories = seeds.map((seed) => simulateHistory(seed));

test('200 histories of a correct box office raise no alarm', () => {
  const alarms = histories.flatMap((history, n) =>
    checkHistory(history).map((violation) => ({ seed: seeds[n], ...violation })),
  );
  expect(alarms).toEqual([]);
});

test.each(CORRUPTIONS)('$lie: found wherever it is planted', ({ breaks, plant }) => {
  const missed: number[] = [];
  let planted = 0;
  for (const [n, history] of histories.slice(0, 40).entries()) {
    const corrupted = structuredClone(history);
    if (!plant(corrupted, new Random(n))) continue;
    planted++;
    if (!checkHistory(corrupted).some(({ rule }) => rule === breaks)) missed.push(seeds[n] ?? 0);
  }
  expect({ missed }).toEqual({ missed: [] });
  expect(planted).toBeGreaterThan(4);
});

describe('a reservation whose payment was under way at its deadline, and that was seen expired', () => {
  const SEAT = 'seat-1';
  const row = (name: string, at: number, status: FinalReservation['status']): FinalReservation => ({
    reservation_id: `res-${name}`,
    user_id: name,
    seat_ids: [SEAT],
    price: 7,
    status,
    created_at: at + 5,
    expires_at: at + 1_005,
  });
  const heldBy = (held: FinalReservation): Call => ({
    name: 'hold',
    process: 1,
    invoked: held.created_at - 5,
    answered: held.created_at + 5,
    user_id: held.user_id,
    seat_ids: [SEAT],
    outcome: granted(held),
  });
  const ann = row('ann', 0, 'CONFIRMED');
  const { reservation_id } = ann;
  const readAs = (status: FinalReservation['status'], at: number): Call => {
    const outcome = granted(ann);
    if (outcome.type === 'ok') outcome.body.status = status;
    return { name: 'read', process: 1, invoked: at, answered: at + 10, reservation_id, outcome };
  };

  /** Ann is rescued between 1,100 and 2,000; Bob holds the same seat from then until he releases it. */
  function rulesBroken(paid: Partial<Pay>, bobAt?: number) {
    const outcome = { type: 'unknown', why: 'no answer was waited for' } as const;
    const unanswered = { process: 2, invoked: 500, answered: Number.POSITIVE_INFINITY, outcome };
    const calls: Call[] = [heldBy(ann), { name: 'pay', ...unanswered, ...paid, reservation_id }];
    calls.push(readAs('EXPIRED', 1_100), readAs('CONFIRMED', 2_000));
    const reservations = [ann];
    if (bobAt !== undefined) {
      const bob = row('bob', bobAt, 'RELEASED');
      const release = { process: 1, invoked: bobAt + 50, answered: bobAt + 60, outcome: granted(bob) };
      reservations.push(bob);
      calls.push(heldBy(bob), { name: 'release', ...release, reservation_id: bob.reservation_id });
    }
    const final: History['final'] = {
      reservations,
      refused: [],
      bookings: [{ booking_id: 'booking-1', reservation_id, status: 'CONFIRMED' }],
      charges: [{ reservation_id, amount: 7, status: 'CAPTURED' }],
      seats: [{ seat_id: SEAT, status: 'BOOKED', reservation_id }],
    };
    return checkHistory({ calls, final }).map(({ rule }) => rule);
  }

  test('may be confirmed after all, if the seats were free', () => {
    expect(rulesBroken({})).toEqual([]);
    expect(rulesBroken({}, 1_200)).toEqual([]);
    expect(rulesBroken({ payment_token: 'tok_visa' }, 1_200)).toEqual([]);
  });

  test('shares its seats with nobody before its deadline, or once it is confirmed', () => {
    expect(rulesBroken({}, 600)).toEqual(['one owner']);
    expect(rulesBroken({}, 2_100)).toEqual(['one owner']);
  });

  test('has ended where its only payment was refused before', () => {
    const outcome = { type: 'fail' as const, code: 'PAYMENT_DECLINED', conflicts: [], booking_id: undefined };
    expect(rulesBroken({ answered: 510, outcome })).toContain('ended as told');
  });
});

describe('a hold of which its client was not told', () => {
  const unanswered: Call = {
    name: 'hold',
    process: 1,
    invoked: 0,
    answered: Number.POSITIVE_INFINITY,
    user_id: 'ann',
    seat_ids: ['seat-1'],
    outcome: { type: 'unknown', why: 'given up' },
  };
  const refusal = (user_id: string, at: number): Call => ({
    ...unanswered,
    process: 2,
    invoked: at,
    answered: at + 10,
    user_id,
    outcome: { type: 'fail', code: 'SEATS_UNAVAILABLE', conflicts: ['seat-1'], booking_id: undefined },
  });
  const rulesBroken = (refused: Call, final: Partial<History['final']>, ...terminated: string[]) => {
    const nothing = { reservations: [], refused: [], bookings: [], charges: [], seats: [] };
    const history = { calls: [unanswered, refused], final: { ...nothing, ...final }, terminated: new Set(terminated) };
    return checkHistory(history).map(({ rule }) => rule);
  };

  test('refuses others while it may have had its locks, if it was begun', () => {
    const refused = [{ user_id: 'ann', seat_ids: ['seat-1'], refused_at: 2_000 }];
    expect(rulesBroken(refusal('bob', 2_500), { refused })).toEqual([]);
    expect(rulesBroken(refusal('bob', 9_000), { refused })).toEqual(['refused for a reason']);
    expect(rulesBroken(refusal('bob', 2_500), {})).toEqual(['refused for a reason']);
  });

  test('may have come and gone before its repeat is refused, or have been terminated', () => {
    const reservation: FinalReservation = {
      reservation_id: 'res-1',
      user_id: 'ann',
      seat_ids: ['seat-1'],
      price: 7,
      status: 'EXPIRED',
      created_at: 2_000,
      expires_at: 3_000,
    };
    expect(rulesBroken(refusal('ann', 4_000), { reservations: [reservation] })).not.toContain('refused is not held');
    expect(rulesBroken(refusal('ann', 2_500), { reservations: [reservation] })).toContain('refused is not held');
    const ofTerminated = rulesBroken(refusal('ann', 2_500), { reservations: [reservation] }, 'res-1');
    expect(ofTerminated).not.toContain('refused is not held');
  });
});
