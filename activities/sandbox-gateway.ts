import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Charge, ChargeStatus, Money } from '../domain/model.ts';
import { GatewayUnavailable, type Authorisation, type ChargeRequest, type PaymentGateway } from './payments.ts';

interface ChargeRow {
  charge_id: string;
  status: ChargeStatus;
  decline_detail: string | null;
}

const newChargeId = () => `ch_${randomUUID().replaceAll('-', '')}`;

const toAuthorisation = (charge: ChargeRow): Authorisation =>
  charge.status === 'AUTHORIZED' || charge.status === 'CAPTURED'
    ? { status: 'AUTHORIZED', charge_id: charge.charge_id }
    : { status: 'DECLINED', detail: charge.decline_detail ?? `The charge was ${charge.status.toLowerCase()}.` };

/** How long `tok_slow` takes. */
const SLOW_MS = 3_000;

/** A gateway without money: what it does depends on the token alone, and its books are in a schema of its own. */
export function createSandboxGateway(database: Pool): PaymentGateway {
  /** Books a charge under its key; where the key has one, that one is answered. */
  async function charge(
    request: Omit<ChargeRequest, 'payment_token'>,
    status: ChargeStatus,
    declineDetail?: string,
  ): Promise<ChargeRow & { isNew: boolean }> {
    const chargeId = newChargeId();
    const { rows } = await database.query<ChargeRow>(
      `INSERT INTO sandbox_gateway.charges (charge_id, idempotency_key, reservation_id, amount, currency, status, decline_detail)
       VALUES ($1, $2, $3, $4, $5, $6, $7)
       ON CONFLICT (idempotency_key) DO UPDATE SET idempotency_key = excluded.idempotency_key
       RETURNING charge_id, status, decline_detail`,
      [
        chargeId,
        request.idempotency_key,
        request.reservation_id,
        request.price.amount,
        request.price.currency,
        status,
        declineDetail,
      ],
    );
    const [row] = rows;
    if (!row) throw new GatewayUnavailable('the charge was not booked');
    return { ...row, isNew: row.charge_id === chargeId };
  }

  async function countAttempt(idempotencyKey: string): Promise<number> {
    const { rows } = await database.query<{ attempts: number }>(
      `INSERT INTO sandbox_gateway.attempts (idempotency_key, attempts) VALUES ($1, 1)
       ON CONFLICT (idempotency_key) DO UPDATE SET attempts = attempts.attempts + 1 RETURNING attempts`,
      [idempotencyKey],
    );
    return rows[0]?.attempts ?? 1;
  }

  return {
    async authorise(request) {
      switch (request.payment_token) {
        case 'tok_visa':
          break;
        case 'tok_slow':
          await delay(SLOW_MS);
          break;
        case 'tok_flaky':
          if ((await countAttempt(request.idempotency_key)) <= 2) throw new GatewayUnavailable('503 from the gateway');
          break;
        case 'tok_lost_reply':
          if ((await charge(request, 'AUTHORIZED')).isNew) throw new GatewayUnavailable('the reply was lost');
          break;
        case 'tok_declined':
          return toAuthorisation(await charge(request, 'DECLINED', 'The card was declined.'));
        default:
          return toAuthorisation(await charge(request, 'DECLINED', 'The payment token is not known.'));
      }
      return toAuthorisation(await charge(request, 'AUTHORIZED'));
    },

    async verify(chargeId: string, reservationId: string, price: Money) {
      const { rows } = await database.query<ChargeRow>(
        `SELECT charge_id, status, decline_detail FROM sandbox_gateway.charges
         WHERE charge_id = $1 AND reservation_id = $2 AND amount = $3 AND currency = $4`,
        [chargeId, reservationId, price.amount, price.currency],
      );
      return rows[0]
        ? toAuthorisation(rows[0])
        : { status: 'DECLINED', detail: 'No such charge for this reservation.' };
    },

    async capture(chargeId) {
      const { rowCount } = await database.query(
        `UPDATE sandbox_gateway.charges SET status = 'CAPTURED'
         WHERE charge_id = $1 AND status IN ('AUTHORIZED', 'CAPTURED')`,
        [chargeId],
      );
      return rowCount === 1;
    },

    async giveBack(chargeId, reservationId) {
      await database.query(
        `UPDATE sandbox_gateway.charges
         SET status = CASE status WHEN 'AUTHORIZED' THEN 'VOIDED' WHEN 'CAPTURED' THEN 'REFUNDED' ELSE status END
         WHERE charge_id = $1 AND reservation_id = $2`,
        [chargeId, reservationId],
      );
    },

    chargesOf: (reservationId) => listSandboxCharges(database, reservationId),

    async cancel(request) {
      const { charge_id } = await charge(request, 'VOIDED', 'The payment was cancelled.');
      await this.giveBack(charge_id, request.reservation_id);
    },
  };
}

/** The sandbox's books for one reservation, oldest first. */
export async function listSandboxCharges(database: Pool, reservationId: string): Promise<Charge[]> {
  const { rows } = await database.query<Omit<Charge, 'created_at'> & { created_at: Date }>(
    `SELECT charge_id, reservation_id, amount, currency, status, created_at FROM sandbox_gateway.charges
     WHERE reservation_id = $1 ORDER BY created_at, charge_id LIMIT 100`,
    [reservationId],
  );
  return rows.map((row) => ({ ...row, created_at: row.created_at.toISOString() }));
}
