/** What may happen to the reservations of one event, in any order. */
import fc from 'fast-check';

export const SEATS = 3;

const MUST_COME_ABOUT = [
  'resolveHold',
  'releaseSeats',
  'unlockSeats',
  'openBooking',
  'bookSeats',
  'unbookSeats',
  'capturePayment',
  'cancelPayment',
  'giveBackPayment',
  'failBooking',
  'confirmBooking',
];
const MAY_BE_GIVEN_UP = ['holdSeats', 'authorisePayment', 'verifyCharge', 'sendConfirmation'];

/** The next call of an activity fails, before or after it took effect. */
export interface Fault {
  activity: string;
  when: 'before' | 'after';
  /** Later: after three minutes. */
  again: 'at once' | 'later' | 'never';
}

/** `next` says whether the next command comes when everything has come to rest, or at once. */
interface Pace {
  next: 'rest' | 'go on';
}

/** To the reservation `of`, counted in a circle. */
export type CommandTo = Pace & { of: number } & (
    | { does: 'claim' | 'release' | 'cancel' | 'pay again' }
    | { does: 'pay' | 'operator pays'; token: string }
    | { does: 'webhook'; charge: 'new' | 'same again' | 'too little' | 'of another' }
  );

export type Command =
  | CommandTo
  | (Pace &
      (
        | { does: 'hold'; seats: number[] }
        | { does: 'fail'; fault: Fault }
        | { does: 'withdraw money' | 'forget locks' }
        | { does: 'wait'; minutes: number; first: 'PostgreSQL' | 'Temporal' }
      ));

const next = fc.constantFrom('rest', 'rest', 'rest', 'go on');
const of = fc.nat(2);
const token = fc.constantFrom('tok_visa', 'tok_visa', 'tok_declined', 'tok_lost_reply', 'tok_nonsense');
const when = fc.constantFrom('before', 'after');

const hold = fc.record({
  does: fc.constant('hold'),
  seats: fc.uniqueArray(fc.nat(SEATS - 1), { minLength: 1, maxLength: SEATS }),
  next,
});
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({ activity: fc.constantFrom(...MUST_COME_ABOUT), when, again: fc.constantFrom('at once', 'later') }),
  fc.record({
    activity: fc.constantFrom(...MAY_BE_GIVEN_UP),
    when,
    again: fc.constantFrom('at once', 'later', 'never'),
  }),
);
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 2, arbitrary: hold },
  { weight: 3, arbitrary: fc.record({ does: fc.constant('pay'), of, token, next }) },
  { weight: 3, arbitrary: fc.record({ does: fc.constant('fail'), fault, next: fc.constant('go on') }) },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('wait'),
      minutes: fc.constantFrom(4, 12),
      first: fc.constantFrom('PostgreSQL', 'Temporal'),
      next,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('webhook'),
      of,
      charge: fc.constantFrom('new', 'new', 'same again', 'too little', 'of another'),
      next,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ does: fc.constantFrom('release', 'cancel', 'claim', 'pay again'), of, next }),
  },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('operator pays'), of, token, next }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constantFrom('withdraw money', 'forget locks'), next }) },
);

/** Begins with a hold: before it there is nothing to do anything to. */
export const sequences: fc.Arbitrary<Command[]> = fc
  .tuple(hold, fc.array(command, { minLength: 1, maxLength: 8, size: 'max' }))
  .map(([first, rest]) => [first, ...rest]);
