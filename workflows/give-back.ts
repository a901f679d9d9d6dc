import { giveBackPayment } from './steps.ts';

/** Gives back a charge that no reservation's workflow is left to hear of. */
export async function giveBack(charge: { charge_id: string; reservation_id: string }): Promise<void> {
  await giveBackPayment(charge);
}
