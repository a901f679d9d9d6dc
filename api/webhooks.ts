/** What the payment gateway tells: stored first, then handed to the reservation, again and again until it has it. */
import type { Pool } from 'pg';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { Id } from '../domain/model.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Queries } from './queries.ts';
import { NotRunning, type ReservationWorkflows } from './reservation-workflows.ts';

/** A gateway adds fields and types as it likes: what is not known here is no fault. */
export const WebhookEvent = Type.Object({
  id: Id,
  type: Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z0-9_.-]+$' }),
  created: Type.Integer({ minimum: 0, description: 'Unix seconds' }),
  data: Type.Object({}),
});
export type WebhookEvent = Static<typeof WebhookEvent>;

/** Money was reserved or taken for a reservation. */
export const ChargeData = Type.Object({ charge_id: Id, reservation_id: Id });
type ChargeData = Static<typeof ChargeData>;

const CHARGE_TYPES = ['charge.authorized', 'charge.captured'];

/** Whether an event is one that a reservation is told of; of all others it is enough to know that they came. */
export const isOfCharge = ({ type }: WebhookEvent) => CHARGE_TYPES.includes(type);

/** A try takes about as long at most; whoever began it may be dead by then. */
const RETRY_AFTER = `interval '4 seconds'`;
const BATCH = 20;
/** While something is undelivered, and when nothing is known to be: another process may have died before it delivered. */
const SOON_MS = 1_000;
const IDLE_MS = 60_000;

/** The first event of an id stays, and is handed on by whoever stored it. Each new one removes up to two older than a month, so the table has a bound. */
const STORE = `
WITH forgotten AS (
  DELETE FROM webhook_events WHERE event_id IN (
    SELECT event_id FROM webhook_events WHERE received_at < now() - interval '30 days' AND delivered_at IS NOT NULL
    ORDER BY received_at LIMIT 2 FOR UPDATE SKIP LOCKED)
)
INSERT INTO webhook_events (event_id, type, body, delivered_at, next_try_at)
VALUES ($1, $2, $3, CASE WHEN $4 THEN NULL ELSE now() END, CASE WHEN $4 THEN now() + ${RETRY_AFTER} END)
ON CONFLICT (event_id) DO NOTHING`;

/** Those that are due, for this process alone until the next try. */
const TAKE_DUE = `
UPDATE webhook_events SET next_try_at = now() + ${RETRY_AFTER} WHERE event_id IN (
  SELECT event_id FROM webhook_events WHERE next_try_at <= now()
  ORDER BY next_try_at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)
RETURNING event_id, body`;

const IS_DELIVERED = 'SELECT 1 FROM webhook_events WHERE event_id = $1 AND delivered_at IS NOT NULL';

const DELIVERED = `UPDATE webhook_events SET delivered_at = now(), next_try_at = NULL WHERE event_id = $1`;

interface StoredEvent {
  event_id: string;
  body: { data?: unknown };
}

/** Starts at once with what was stored and never delivered. */
export function createWebhooks(database: Pool, queries: Queries, workflows: ReservationWorkflows, log: Logger) {
  const stopping = new AbortController();
  let next: { at: number; timer: NodeJS.Timeout } | undefined;
  let sweeping = Promise.resolve();

  function sweepWithin(ms: number): void {
    const at = Date.now() + ms;
    if (stopping.signal.aborted || (next && next.at <= at)) return;
    clearTimeout(next?.timer);
    const timer = setTimeout(() => {
      next = undefined;
      sweeping = sweeping.then(sweep);
    }, ms);
    next = { at, timer };
  }

  async function sweep(): Promise<void> {
    try {
      while (!stopping.signal.aborted && (await deliverSome()));
      const { rowCount } = await database.query('SELECT 1 FROM webhook_events WHERE next_try_at IS NOT NULL LIMIT 1');
      sweepWithin(rowCount === 0 ? IDLE_MS : SOON_MS);
    } catch (error) {
      log.warn({ err: error }, 'stored webhooks could not be read');
      sweepWithin(SOON_MS);
    }
  }

  /** Whether some were delivered, and none failed. */
  async function deliverSome(): Promise<boolean> {
    const { rows } = await database.query<StoredEvent>({ name: 'take-due-webhooks', text: TAKE_DUE });
    const delivered = await Promise.all(rows.map(deliver));
    return rows.length > 0 && !delivered.includes(false);
  }

  /** May be repeated: a reservation takes each charge once, and a charge is given back once. */
  async function deliver({ event_id, body }: StoredEvent): Promise<boolean> {
    try {
      const isTold = await tell(Value.Parse(ChargeData, body.data));
      if (isTold) await database.query({ name: 'note-delivery', text: DELIVERED, values: [event_id] });
      else sweepWithin(SOON_MS);
      return isTold;
    } catch (error) {
      log.warn({ err: error, event_id }, 'a webhook is not delivered yet');
      sweepWithin(SOON_MS);
      return false;
    }
  }

  /** Tells the reservation of the charge; where it is over, the charge is given back unless the booking has it. */
  async function tell({ charge_id, reservation_id }: ChargeData): Promise<boolean> {
    try {
      await workflows.sendCharge(reservation_id, charge_id);
      return true;
    } catch (error) {
      if (!(error instanceof NotRunning)) throw error;
    }
    const use = await queries.getUseOfCharge(reservation_id, charge_id);
    if (use === 'NONE') await workflows.giveBack(reservation_id, charge_id);
    return use !== 'UNDECIDED';
  }

  sweepWithin(0);
  return {
    /** Resolves once the event is stored, with whether it is also delivered; it will be in any case. */
    async receive(event: WebhookEvent): Promise<boolean> {
      const { rowCount } = await database.query({
        name: 'store-webhook',
        text: STORE,
        values: [event.id, event.type, JSON.stringify(event), isOfCharge(event)],
      });
      if (rowCount === 1) return !isOfCharge(event) || deliver({ event_id: event.id, body: event });
      const known = await database.query({ name: 'webhook-delivered', text: IS_DELIVERED, values: [event.id] });
      return known.rowCount === 1;
    },

    async stop(): Promise<void> {
      stopping.abort();
      clearTimeout(next?.timer);
      await sweeping;
    },
  };
}

export type Webhooks = ReturnType<typeof createWebhooks>;
