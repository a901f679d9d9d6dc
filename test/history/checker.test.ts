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

describe('a reservation that nobody saw held', () => {
  const outcome = { type: 'unknown', why: 'given up' } as const;
  const unanswered = { process: 1, answered: Number.POSITIVE_INFINITY, outcome };
  const ofAnn = (status: FinalReservation['status']): FinalReservation => ({
    reservation_id: 'res-ann',
    user_id: 'ann',
    seat_ids: ['seat-1', 'seat-2'],
    price: 14,
    status,
    created_at: 5,
    expires_at: 1_005,
  });
  const seen = (status: FinalReservation['status'], by: number): Call => {
    const read = granted(ofAnn(status));
    if (read.type === 'ok') read.body.status = status;
    return { name: 'read', process: 1, invoked: by - 10, answered: by, reservation_id: 'res-ann', outcome: read };
  };
  const isBroken = (ann: FinalReservation, told: Call[], ...others: [string, string, number, number][]) => {
    const calls: Call[] = [
      { name: 'hold', ...unanswered, invoked: 0, user_id: 'ann', seat_ids: ann.seat_ids },
      ...told,
    ];
    const reservations = [ann];
    for (const [name, seat, from, to] of others) {
      const row = {
        ...ann,
        reservation_id: `res-${name}`,
        user_id: name,
        seat_ids: [seat],
        price: 7,
        created_at: from,
      };
      const other: FinalReservation = { ...row, status: 'RELEASED', expires_at: from + 10_000 };
      const mine = { process: 2, outcome: granted(other), reservation_id: other.reservation_id };
      reservations.push(other);
      calls.push({ ...mine, name: 'hold', invoked: from - 5, answered: from, user_id: name, seat_ids: [seat] });
      calls.push({ ...mine, name: 'release', invoked: to, answered: to + 5 });
    }
    const final = { reservations, refused: [], bookings: [], charges: [], seats: [] };
    return checkHistory({ calls, final }).some(({ rule }) => rule === 'one owner');
  };

  test('had its seats at an instant that others left, all of them together', () => {
    const expired = [seen('EXPIRED', 2_010)];
    const among = (...others: [string, string, number, number][]) => isBroken(ofAnn('EXPIRED'), expired, ...others);
    expect(among(['bob', 'seat-1', 900, 2_500])).toBe(true);
    expect(among(['bob', 'seat-1', 900, 1_500])).toBe(false);
    expect(among(['bob', 'seat-1', 900, 1_500], ['cat', 'seat-2', 1_400, 2_500])).toBe(true);
    expect(among(['bob', 'seat-1', 900, 1_500], ['cat', 'seat-2', 1_600, 2_500])).toBe(false);
  });

  test('had them before its deadline also where it was rescued after it', () => {
    const pay = { ...unanswered, name: 'pay', invoked: 500, reservation_id: 'res-ann' } as const;
    const rescued = [pay, seen('EXPIRED', 1_110), seen('CONFIRMED', 2_010)];
    expect(isBroken(ofAnn('CONFIRMED'), rescued, ['bob', 'seat-1', 900, 1_200])).toBe(true);
    expect(isBroken(ofAnn('CONFIRMED'), rescued, ['bob', 'seat-1', 900, 1_050])).toBe(false);
  });
});
