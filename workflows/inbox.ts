import {
  ApplicationFailure,
  CancellationScope,
  condition,
  log,
  patched,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Ending } from '../domain/model.ts';
import * as messages from './messages.ts';
import type { PaymentMessage, PaymentOutcome, Refusal, Reserved, Stage } from './messages.ts';

/** Bounds the history, and what a card tester can do with one reservation. */
const MAX_PAYMENTS = 10;

export interface Payment {
  message: PaymentMessage;
  outcome?: PaymentOutcome;
}

const isPayment = (message: unknown): message is PaymentMessage =>
  typeof message === 'object' &&
  message !== null &&
  (('payment_token' in message && typeof message.payment_token === 'string') ||
    ('charge_id' in message && typeof message.charge_id === 'string'));

/**
 * What a reservation was told, and what it has become. Handlers only record a fact, where the state allows it; the
 * workflow's main function acts.
 */
export class Inbox {
  stage: Stage = 'RESERVING';
  reserved: Reserved | undefined;
  /** Set before the first await of an ending: whatever is asked for after it is refused with the reason. */
  ending: Ending | undefined;
  releaseAsked = false;
  /** Until when a client waits for the hold's outcome, by the server's clock. */
  awaitedUntilMs: number;
  /** To be settled in order; the first is being settled. */
  readonly payments: Payment[] = [];
  /** A gateway tells of a charge several times, and in any order: once is enough. */
  readonly #charges = new Set<string>();
  paymentsTried = 0;
  confirmed: Extract<PaymentOutcome, { status: 'CONFIRMED' }> | undefined;

  /**
   * Sets every handler, so it comes before the first await. An operator's cancellation asks for the seats' release.
   * @param answerWithinMs how long after the start the first client waits
   */
  constructor(answerWithinMs: number) {
    this.awaitedUntilMs = workflowInfo().startTime.getTime() + answerWithinMs;
    CancellationScope.current().cancelRequested.catch(() => (this.releaseAsked = true));
    setHandler(messages.stage, () => this.stage);
    setHandler(messages.claim, (asked) => {
      const answerBy = Date.now() + (asked?.answer_within_ms ?? messages.ANSWER_WITHIN_MS);
      this.awaitedUntilMs = Math.max(this.awaitedUntilMs, answerBy);
      return recorded(() => (this.ending === 'RELEASED' ? { status: 'FAILED' } : this.reserved));
    });
    setHandler(
      messages.pay,
      (message) => {
        const payment = this.#add(message);
        return recorded(() => payment.outcome);
      },
      { validator: (message) => refuse(isPayment(message) ? this.#whyNotPay() : 'MALFORMED_PAYMENT') },
    );
    setHandler(messages.payment, (message) => {
      if (isPayment(message)) this.#hear(message);
      else log.error('a payment signal without payment_token or charge_id was ignored');
    });
    setHandler(
      messages.release,
      () => {
        this.releaseAsked = true;
        return recorded(() => (this.stage === this.ending ? this.ending : undefined));
      },
      { validator: () => refuse(this.#whyNotRelease()) },
    );
  }

  #hear(message: PaymentMessage): void {
    if ('charge_id' in message) {
      if (this.#charges.has(message.charge_id) && patched('a charge is heard of once')) return;
      this.#charges.add(message.charge_id);
    }
    this.#add(message);
  }

  #add(message: PaymentMessage): Payment {
    const payment: Payment = { message };
    this.payments.push(payment);
    return payment;
  }

  #whyNotPay(): Refusal | undefined {
    // A payment under way comes first, and what it ended in stays.
    const isToBeReleased = this.ending === undefined && this.releaseAsked && this.payments.length === 0;
    if (isToBeReleased || this.ending === 'RELEASED') return 'RESERVATION_RELEASED';
    if (this.paymentsTried >= MAX_PAYMENTS) return 'TOO_MANY_PAYMENTS';
    // Not known yet: the hold step is done anew after a crash, and the buyer may have been told of the hold before it.
    const mayBeHeld = this.reserved === undefined || this.reserved.status === 'HELD';
    return mayBeHeld ? this.#whyNotRelease() : 'RESERVATION_NOT_HELD';
  }

  #whyNotRelease(): Refusal | undefined {
    if (this.payments.length > 0) return 'PAYMENT_IN_PROGRESS';
    if (this.ending === 'CONFIRMED') return 'ALREADY_CONFIRMED';
    if (this.ending === 'EXPIRED') return 'RESERVATION_EXPIRED';
    return undefined;
  }
}

/** Resolves once a fact is there, also where an operator cancels meanwhile: whoever asked is answered. */
const recorded = <T>(fact: () => T | undefined): Promise<T> =>
  CancellationScope.nonCancellable(async () => {
    for (;;) {
      const value = fact();
      if (value !== undefined) return value;
      await condition(() => fact() !== undefined);
    }
  });

function refuse(refusal: Refusal | undefined): void {
  if (refusal) throw ApplicationFailure.nonRetryable(`refused: ${refusal}`, refusal);
}
