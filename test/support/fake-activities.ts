/** Activities without side effects: everything succeeds, unless a test says otherwise. */
import { vi } from 'vitest';
import type { Activities } from '../../activities/index.ts';

type Seats = Activities['seats'];
type Payments = Activities['payments'];
type Notifications = Activities['notifications'];

export const HOLD_MS = 600_000;
export const CHARGE = 'ch_first';

export const createFakeActivities = () => ({
  seats: {
    holdSeats: vi.fn<Seats['holdSeats']>(async ({ rescue }) => ({
      hold: {
        fence: rescue ? '2' : '1',
        price: 17_000,
        currency: 'EUR',
        created_at: '2030-01-01T20:00:00.000Z',
        expires_at: '2030-01-01T20:10:00.000Z',
        hold_ms: rescue ? 0 : HOLD_MS,
      },
    })),
    resolveHold: vi.fn<Seats['resolveHold']>(async () => ({ conflicts: [] })),
    releaseSeats: vi.fn<Seats['releaseSeats']>(async ({ ending }) => ending),
    unlockSeats: vi.fn<Seats['unlockSeats']>(async () => undefined),
    bookSeats: vi.fn<Seats['bookSeats']>(async () => true),
    unbookSeats: vi.fn<Seats['unbookSeats']>(async ({ fence }) => `${Number(fence) + 1}`),
    openBooking: vi.fn<Seats['openBooking']>(async () => true),
    failBooking: vi.fn<Seats['failBooking']>(async () => undefined),
    confirmBooking: vi.fn<Seats['confirmBooking']>(async () => undefined),
  },
  payments: {
    authorisePayment: vi.fn<Payments['authorisePayment']>(async ({ payment_token }) =>
      payment_token === 'tok_declined'
        ? { status: 'DECLINED', detail: 'The card was declined.' }
        : { status: 'AUTHORIZED', charge_id: CHARGE },
    ),
    verifyCharge: vi.fn<Payments['verifyCharge']>(async ({ charge_id }) => ({ status: 'AUTHORIZED', charge_id })),
    listCharges: vi.fn<Payments['listCharges']>(async () => []),
    capturePayment: vi.fn<Payments['capturePayment']>(async () => true),
    giveBackPayment: vi.fn<Payments['giveBackPayment']>(async () => undefined),
    cancelPayment: vi.fn<Payments['cancelPayment']>(async () => undefined),
  },
  notifications: {
    sendConfirmation: vi.fn<Notifications['sendConfirmation']>(async () => undefined),
  },
});
