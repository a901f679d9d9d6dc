/** The payment gateway's own page, and how it tells of what was paid there: first, twice, in disorder, late or never. */
import { createHmac, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import type { Reservation } from '../../domain/model.ts';
import type { Random } from '../history/random.ts';
import { until } from '../support/until.ts';
import type { BoxOffice } from './box-office.ts';

export const WEBHOOK_SECRET = 'a secret of the gateway and the box office';

const MANNERS = ['once', 'twice', 'in disorder', 'late', 'never'] as const;
/** From the deadline of the hold on. */
const LATE_MS = [-200, 2_000] as const;
const POST_WITHIN_MS = 5_000;
const ACKNOWLEDGED_WITHIN_MS = 60_000;

interface PaidCharge {
  charge_id: string;
  reservation_id: string;
}

const newId = () => `evt_${randomUUID()}`;

type Told = 'told' | 'late' | 'never';

export function openGateway({ database, url }: Pick<BoxOffice, 'database' | 'url'>) {
  const sandbox = createSandboxGateway(database);
  const late: Promise<void>[] = [];
  const untold: PaidCharge[] = [];
  const faults: string[] = [];

  /** @throws Error where it is refused: the gateway would never come through with it */
  async function post(body: string): Promise<boolean> {
    const t = Math.floor(Date.now() / 1_000);
    const v1 = createHmac('sha256', WEBHOOK_SECRET).update(`${t}.${body}`).digest('hex');
    const response = await fetch(`${url}/api/v1/webhooks/payments`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', 'webhook-signature': `t=${t},v1=${v1}` },
      signal: AbortSignal.timeout(POST_WITHIN_MS),
    }).catch(() => undefined);
    const answer = await response?.text().catch(() => undefined);
    if (response && response.status < 500 && !response.ok) throw new Error(`a webhook was refused: ${answer}`);
    return answer !== undefined && response?.ok === true;
  }

  /** Again and again until it is acknowledged. */
  async function tell(data: PaidCharge, type = 'charge.authorized', id = newId()): Promise<void> {
    const body = JSON.stringify({ id, type, created: Math.floor(Date.now() / 1_000), data });
    await until(`${body} is acknowledged`, () => post(body), ACKNOWLEDGED_WITHIN_MS).catch((error: unknown) => {
      faults.push(String(error));
    });
  }

  /** The buyer's money is reserved on its page. */
  async function charge({ reservation_id, price }: Reservation): Promise<PaidCharge> {
    const request = { idempotency_key: `page-${reservation_id}`, reservation_id, price };
    const charged = await sandbox.authorise({ ...request, payment_token: 'tok_visa' });
    if (charged.status !== 'AUTHORIZED') throw new Error(charged.detail);
    return { charge_id: charged.charge_id, reservation_id };
  }

  async function tellSoon(paid: PaidCharge, manner: 'once' | 'twice' | 'in disorder'): Promise<'told'> {
    const id = newId();
    if (manner === 'in disorder') await tell(paid, 'charge.captured');
    const times = manner === 'twice' ? [id, id, newId()] : [id];
    await Promise.all(times.map((it) => tell(paid, 'charge.authorized', it)));
    return 'told';
  }

  return {
    faults,

    /** Reservations of which it has money, and has never told. */
    untold: () => untold.map(({ reservation_id }) => reservation_id),

    /** A buyer pays on its page. Answers whether the box office has been told, will be after the deadline, or never. */
    async pay(reservation: Reservation, random: Random): Promise<Told> {
      const paid = await charge(reservation);
      const manner = random.pick(MANNERS);
      if (manner !== 'late' && manner !== 'never') return tellSoon(paid, manner);
      if (manner === 'never') untold.push(paid);
      else {
        const ms = Date.parse(reservation.expires_at) - Date.now() + random.int(...LATE_MS);
        late.push(delay(Math.max(0, ms)).then(() => tell(paid)));
      }
      return manner;
    },

    /** Resolves when those that are late are told as well. */
    allTold: async () => void (await Promise.all(late)),

    /** Somebody has looked into the money that did not match, and has the gateway tell of it. */
    async tellUntold(): Promise<void> {
      await Promise.all(untold.splice(0).map((paid) => tell(paid)));
    },
  };
}
