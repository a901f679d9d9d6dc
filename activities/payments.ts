import type { Charge, Money } from '../domain/model.ts';

/** Names one charge at the gateway, however often it is asked for. */
export interface ChargeRequest {
  idempotency_key: string;
  reservation_id: string;
  payment_token: string;
  price: Money;
}

export type Authorisation = { status: 'AUTHORIZED'; charge_id: string } | { status: 'DECLINED'; detail: string };

/** The gateway answered with a fault or not at all: what it did is unknown, so ask again with the same key. */
export class GatewayUnavailable extends Error {
  override name = 'GatewayUnavailable';
}

/**
 * Whoever takes the money. Every call may be repeated; an answer that is lost leaves the same charge behind. A charge is
 * captured once and given back once, so its id is the idempotency key of either.
 * All methods reject with {@link GatewayUnavailable} where the outcome is unknown.
 */
export interface PaymentGateway {
  /** Reserves the money; a repeat with the same key answers the first charge. */
  authorise(request: ChargeRequest): Promise<Authorisation>;
  /** A charge that was made elsewhere (a webhook's, an operator's): good for this reservation and price, or not. */
  verify(chargeId: string, reservationId: string, price: Money): Promise<Authorisation>;
  /** Takes the reserved money. False where the charge is no longer AUTHORIZED or CAPTURED. */
  capture(chargeId: string): Promise<boolean>;
  /** Gives the money back, taken or only reserved; a charge that is not this reservation's is left alone. */
  giveBack(chargeId: string, reservationId: string): Promise<void>;
  /** Every charge for a reservation that the gateway knows of. */
  chargesOf(reservationId: string): Promise<Charge[]>;
  /** Ends whatever was or will be charged under this key, also where the request is still on its way. */
  cancel(request: Omit<ChargeRequest, 'payment_token'>): Promise<void>;
}

/** The activities of the `payments` task queue: the gateway's calls by their names in the workflow. */
export function createPayments(gateway: PaymentGateway) {
  return {
    authorisePayment: (request: ChargeRequest) => gateway.authorise(request),
    verifyCharge: (charge: { charge_id: string; reservation_id: string; price: Money }) =>
      gateway.verify(charge.charge_id, charge.reservation_id, charge.price),
    capturePayment: (charge: { charge_id: string }) => gateway.capture(charge.charge_id),
    listCharges: ({ reservation_id }: { reservation_id: string }) => gateway.chargesOf(reservation_id),
    /** The undo of a charge that is known. */
    giveBackPayment: (charge: { charge_id: string; reservation_id: string }) =>
      gateway.giveBack(charge.charge_id, charge.reservation_id),
    /** The undo of `authorisePayment`, which may not know what charge it made. */
    cancelPayment: (request: Omit<ChargeRequest, 'payment_token'>) => gateway.cancel(request),
  };
}
