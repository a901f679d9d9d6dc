/** What the payment gateway tells of charges: whatever comes, however often and in any order, money and seats agree. */
import { createHash, createHmac } from 'node:crypto';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { createSandboxGateway } from '../../activities/sandbox-gateway.ts';
import type { Reservation } from '../../domain/model.ts';
import { createRandom } from '../../bench/random.ts';
import { connectPostgres } from '../../runtime/connections.ts';
import { buyerAt, type Buyer, type ProblemBody, type Reply } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { addEvent } from '../support/house.ts';
import { inTime } from '../support/in-time.ts';
import { openLink } from '../support/links.ts';
import { log } from '../support/stores.ts';
import { startApi, startSystem, workflowBundle } from '../support/system.ts';
import { guarded } from '../support/guarded-api.ts';
import { until } from '../support/until.ts';

const SECRET = 'a secret that the gateway has from us';
const OLDER_SECRET = 'the secret that the gateway had before';
const settings = { WEBHOOK_SECRET: `${SECRET},${OLDER_SECRET}` };
const FORGERIES = 2_000;

let system: Awaited<ReturnType<typeof startSystem>>;
let buyer: Buyer;
let house: Awaited<ReturnType<typeof addEvent>>;
beforeAll(async () => {
  system = await startSystem({ settings });
  buyer = buyerAt(system.url);
  house = await addEvent(system.stores.database, 50);
});
afterAll(() => system.stop());

async function hold(from = buyer): Promise<Reservation> {
  const { status, body } = await from.hold(house.event_id, house.seat_ids.splice(0, 1));
  expect(status).toBe(201);
  return body;
}

let named = 0;

/** The buyer pays on the gateway's page: the money is reserved, and nobody has told us. */
async function payAtGateway({ reservation_id, price }: Pick<Reservation, 'reservation_id' | 'price'>): Promise<string> {
  const idempotency_key = `page-${++named}`;
  const charge = await createSandboxGateway(system.stores.database).authorise({
    idempotency_key,
    reservation_id,
    payment_token: 'tok_visa',
    price,
  });
  if (charge.status !== 'AUTHORIZED') throw new Error(charge.detail);
  return charge.charge_id;
}

const eventOf = (reservation_id: string, charge_id: string, type = 'charge.authorized') => ({
  id: `evt_${++named}`,
  type,
  created: Math.floor(Date.now() / 1_000),
  data: { charge_id, reservation_id },
});

const now = () => Math.floor(Date.now() / 1_000);
const hmac = (secret: string, text: string) => createHmac('sha256', secret).update(text).digest('hex');
const sign = (body: string, secret = SECRET, t: number | string = now()) => `t=${t},v1=${hmac(secret, `${t}.${body}`)}`;

type Receipt = { event_id: string; delivered: boolean };

function post(body: string, signature: string | undefined, to = buyer): Promise<Reply<Receipt & ProblemBody>> {
  return to.call('POST', '/webhooks/payments', body, {
    'content-type': 'application/json',
    ...(signature === undefined ? {} : { 'webhook-signature': signature }),
  });
}

const tell = (event: object, to = buyer) => post(JSON.stringify(event), sign(JSON.stringify(event)), to);

/** What was stored is delivered again up to 5 s after a try that came to nothing, and tries may come to nothing. */
const SETTLED_WITHIN_MS = 25_000;

const statusOf = async (reservation_id: string) => (await buyer.reservation(reservation_id)).body.status;
const becomes = (reservation_id: string, status: Reservation['status']) =>
  until(`${reservation_id} is ${status}`, async () => (await statusOf(reservation_id)) === status, SETTLED_WITHIN_MS);
const ends = (reservation_id: string) => system.client.workflow.getHandle(reservation_id).result();
const chargesOf = async (reservation_id: string) =>
  (await buyer.charges(reservation_id)).map(({ charge_id, status }) => [charge_id, status]);
const chargeBecomes = (reservation_id: string, charge_id: string, status: string) =>
  until(`${charge_id} is ${status}`, async () =>
    (await chargesOf(reservation_id)).some(([id, it]) => id === charge_id && it === status),
  );

/** What a worker does that takes over after a crash. */
async function replays(reservation_id: string): Promise<void> {
  const history = await system.client.workflow.getHandle(reservation_id).fetchHistory();
  await Worker.runReplayHistory({ workflowBundle: workflowBundle() }, history, reservation_id);
}

async function count(table: string): Promise<number> {
  const { rows } = await system.stores.database.query<{ count: string }>(`SELECT count(*) FROM ${table}`);
  return Number(rows[0]?.count);
}

describe('a webhook that the gateway signed', () => {
  test('pays for a reservation that nobody has asked to pay for', async () => {
    const held = await hold();
    const charge_id = await payAtGateway(held);
    const event = eventOf(held.reservation_id, charge_id);
    const { status, body } = await tell(event);
    expect({ status, body }).toEqual({ status: 200, body: { event_id: event.id, delivered: true } });
    await becomes(held.reservation_id, 'CONFIRMED');
    expect(await chargesOf(held.reservation_id)).toEqual([[charge_id, 'CAPTURED']]);
  });

  test.each([
    ['with the older secret', (body: string) => sign(body, OLDER_SECRET)],
    ['with both a new secret and one of ours', (body: string) => `${sign(body, SECRET)},v1=${hmac('new', body)}`],
    ['by two schemes', (body: string) => `v0=${'0'.repeat(64)},${sign(body)}`],
    ['five minutes ago by our clock', (body: string) => sign(body, SECRET, now() - 295)],
    ['by a clock that is ahead', (body: string) => sign(body, SECRET, now() + 295)],
  ])('%s is taken', async (_title, signature) => {
    const body = JSON.stringify({ ...eventOf('res_none', 'ch_none', 'payout.paid'), data: { anything: [1] } });
    expect(await post(body, signature(body))).toMatchObject({ status: 200, body: { delivered: true } });
  });

  test('of a type or with fields that are not known is acknowledged', async () => {
    const event = { ...eventOf('res_none', 'ch_none', 'dispute.opened'), livemode: false, data: { amount: 7 } };
    expect(await tell(event)).toMatchObject({ status: 200, body: { delivered: true } });
    const held = await hold();
    const known = eventOf(held.reservation_id, await payAtGateway(held));
    expect((await tell({ ...known, api_version: 9, data: { ...known.data, card: 'visa' } })).status).toBe(200);
    await becomes(held.reservation_id, 'CONFIRMED');
  });

  test('twenty times at once, and again under other names and in the wrong order, pays once', async () => {
    const held = await hold();
    const { reservation_id } = held;
    const charge_id = await payAtGateway(held);
    const captured = eventOf(reservation_id, charge_id, 'charge.captured');
    const authorised = eventOf(reservation_id, charge_id);
    const before = await count('webhook_events');
    const replies = await Promise.all(Array.from({ length: 20 }, () => tell(captured)));
    for (const { status } of replies) expect([200, 202]).toContain(status);
    await tell(authorised);
    await ends(reservation_id);
    for (const late of [captured, authorised, eventOf(reservation_id, charge_id)]) {
      expect(await tell(late)).toMatchObject({ status: 200, body: { delivered: true } });
    }
    expect(await count('webhook_events')).toBe(before + 3);
    const { events } = await system.client.workflow.getHandle(reservation_id).fetchHistory();
    expect(events?.filter((it) => it.workflowExecutionSignaledEventAttributes)).toHaveLength(2);
    await replays(reservation_id);
    expect(await chargesOf(reservation_id)).toEqual([[charge_id, 'CAPTURED']]);
    const { rows } = await system.stores.database.query('SELECT status FROM bookings WHERE reservation_id = $1', [
      reservation_id,
    ]);
    expect(rows).toEqual([{ status: 'CONFIRMED' }]);
  });

  test('of a charge that is not there leaves the hold, and costs one booking however often it comes', async () => {
    const { reservation_id } = await hold();
    for (let time = 0; time < 5; time++) await tell(eventOf(reservation_id, 'ch_unheard_of'));
    const failed = () =>
      system.stores.database.query(`SELECT 1 FROM bookings WHERE reservation_id = $1 AND status = 'FAILED'`, [
        reservation_id,
      ]);
    await until('the payment has failed', async () => (await failed()).rowCount === 1);
    expect(await statusOf(reservation_id)).toBe('HELD');
    expect((await buyer.payAndWait(reservation_id, 'tok_visa')).status).toBe(201);
    expect((await failed()).rowCount).toBe(1);
  });

  test('of a second charge, or of one whose hold has expired, has the money given back', async () => {
    const paid = await hold();
    expect((await buyer.payAndWait(paid.reservation_id, 'tok_visa')).status).toBe(201);
    await ends(paid.reservation_id);
    const [first] = await chargesOf(paid.reservation_id);
    const second = await payAtGateway(paid);
    expect(await tell(eventOf(paid.reservation_id, second))).toMatchObject({ status: 200, body: { delivered: true } });
    await chargeBecomes(paid.reservation_id, second, 'VOIDED');
    expect(await tell(eventOf(paid.reservation_id, first?.[0] ?? ''))).toMatchObject({ status: 200 });
    expect(await chargesOf(paid.reservation_id)).toContainEqual([first?.[0], 'CAPTURED']);

    const hasty = await startApi(system.stores, 1, undefined, settings);
    onTestFinished(() => hasty.stop());
    const expired = await hold(buyerAt(hasty.url));
    const late = await payAtGateway(expired);
    await ends(expired.reservation_id);
    expect(await statusOf(expired.reservation_id)).toBe('EXPIRED');
    expect((await tell(eventOf(expired.reservation_id, late))).status).toBe(200);
    await chargeBecomes(expired.reservation_id, late, 'VOIDED');
  });

  test('for a reservation whose workflow was terminated waits until that is ended, and has the money given back', async () => {
    const held = await hold();
    const { reservation_id } = held;
    const charge_id = await payAtGateway(held);
    await system.client.workflow.getHandle(reservation_id).terminate();
    expect(await tell(eventOf(reservation_id, charge_id))).toMatchObject({ status: 202, body: { delivered: false } });
    expect(await chargesOf(reservation_id)).toEqual([[charge_id, 'AUTHORIZED']]);
    await system.stores.database.query(`UPDATE reservations SET status = 'EXPIRED' WHERE reservation_id = $1`, [
      reservation_id,
    ]);
    await chargeBecomes(reservation_id, charge_id, 'VOIDED');
  });

  test('whose fields are wrong is refused, and each is named', async () => {
    const broken = { ...eventOf('res_none', 'ch_none'), data: { charge_id: 7 } };
    const reply = await tell(broken);
    expectProblem(reply, 400, 'INVALID_REQUEST');
    expect(reply.body.errors?.map(({ path }) => path)).toEqual(expect.arrayContaining(['data', 'data.charge_id']));
    expectProblem(await tell({ ...broken, created: 'today' }), 400, 'INVALID_REQUEST');
    expectProblem(await post('{', sign('{')), 400, 'INVALID_REQUEST');
  });
});

/** Each is made of a webhook that would be taken: the body, and the signature that goes with it. */
const forgeries: Record<string, (body: string, random: () => number) => [body: string, signature?: string]> = {
  'another secret': (body, random) => [body, sign(body, `${random()}`.padEnd(32, '0'))],
  'no secret': (body) => [body, sign(body, '')],
  'both our secrets as one': (body) => [body, sign(body, settings.WEBHOOK_SECRET)],
  'a changed character': (body, random) => {
    const at = Math.floor(random() * body.length);
    return [`${body.slice(0, at)}${body[at] === '0' ? '1' : '0'}${body.slice(at + 1)}`, sign(body)];
  },
  'another charge': (body, random) => [body.replace(/ch_\w+/, `ch_${Math.floor(random() * 1e9)}`), sign(body)],
  'a cut body': (body, random) => [body.slice(0, 1 + Math.floor(random() * (body.length - 1))), sign(body)],
  'a body with more': (body, random) => [body + ' '.repeat(1 + Math.floor(random() * 9)), sign(body)],
  're-serialised JSON': (body, random) => [
    JSON.stringify(JSON.parse(body), null, 1 + Math.floor(random() * 8)),
    sign(body),
  ],
  'the fields in another order': (body) => [
    JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(body)).reverse())),
    sign(body),
  ],
  'an old time': (body, random) => [body, sign(body, SECRET, now() - 302 - Math.floor(random() * 1e6))],
  'a time to come': (body, random) => [body, sign(body, SECRET, now() + 302 + Math.floor(random() * 1e6))],
  'another time than was signed': (body, random) => [
    body,
    sign(body).replace(/t=\d+/, `t=${now() - 1 - Math.floor(random() * 290)}`),
  ],
  'a time that is no number': (body, random) => {
    const times = ['', 'NaN', '1e9', '-1', '0x10', `${now()}.5`, ` ${now()} `, 'Infinity'];
    return [body, sign(body, SECRET, times[Math.floor(random() * times.length)])];
  },
  'milliseconds for seconds': (body) => [body, sign(body, SECRET, Date.now())],
  'two times': (body) => [body, `t=${now() - 9},${sign(body)}`],
  'no time': (body) => [body, sign(body).replace(/t=\d+,/, '')],
  'no signature': (body) => [body, `t=${now()}`],
  'no header': (body) => [body],
  'an empty header': (body) => [body, ''],
  'a cut signature': (body, random) => [body, sign(body).slice(0, -1 - Math.floor(random() * 64))],
  'a longer signature': (body) => [body, `${sign(body)}00`],
  'a changed signature': (body, random) => {
    const at = -1 - Math.floor(random() * 64);
    const signature = sign(body);
    const digit = signature.at(at) === '0' ? '1' : '0';
    return [body, signature.slice(0, at) + digit + (at === -1 ? '' : signature.slice(at + 1))];
  },
  'another scheme': (body, random) => [
    body,
    sign(body).replace('v1', `v${[0, 2, 10, 'one'][Math.floor(random() * 4)]}`),
  ],
  'the body signed without its time': (body) => [body, `t=${now()},v1=${hmac(SECRET, body)}`],
  'the time signed without its body': (body) => [body, `t=${now()},v1=${hmac(SECRET, `${now()}.`)}`],
  'a hash without a secret': (body) => [
    body,
    `t=${now()},v1=${createHash('sha256').update(`${SECRET}${now()}.${body}`).digest('hex')}`,
  ],
  'another hash': (body) => [
    body,
    `t=${now()},v1=${createHmac('sha512', SECRET).update(`${now()}.${body}`).digest('hex').slice(0, 64)}`,
  ],
};

test(`of ${FORGERIES} forged webhooks none is admitted, and nothing changes`, async () => {
  const held = await hold();
  const charge_id = await payAtGateway(held);
  const random = createRandom(5);
  const kinds = Object.entries(forgeries);
  const before = await count('webhook_events');
  const admitted: string[] = [];
  const todo = Array.from({ length: FORGERIES }, (_, i) => kinds[i % kinds.length]);
  const forge = async () => {
    for (let it = todo.pop(); it; it = todo.pop()) {
      const [kind, make] = it;
      const [body, signature] = make(JSON.stringify(eventOf(held.reservation_id, charge_id)), random);
      const reply = await post(body, signature);
      const code = signature === undefined ? 'INVALID_SIGNATURE' : reply.body.code;
      if (reply.status !== 400 || code !== 'INVALID_SIGNATURE') admitted.push(`${kind}: ${body} ${signature}`);
    }
  };
  await Promise.all(Array.from({ length: 20 }, forge));
  expect(admitted).toEqual([]);
  expect(await count('webhook_events')).toBe(before);
  expect(await statusOf(held.reservation_id)).toBe('HELD');
  expect(await chargesOf(held.reservation_id)).toEqual([[charge_id, 'AUTHORIZED']]);
}, 120_000);

describe('while Temporal is away', () => {
  test('a webhook is stored, and delivered once Temporal is back', async () => {
    const temporal = await openLink(new URL(`tcp://${inject('temporal_address')}`));
    const api = await startApi(system.stores, 600, undefined, {
      ...guarded(settings),
      TEMPORAL_ADDRESS: temporal.address,
    });
    onTestFinished(async () => {
      await api.stop();
      await temporal.refuse();
    });
    const held = await hold();
    const event = eventOf(held.reservation_id, await payAtGateway(held));
    await temporal.refuse();
    const told = inTime(3_000, tell(event, buyerAt(api.url)));
    expect(await told).toMatchObject({ status: 202, body: { delivered: false } });
    expect(await statusOf(held.reservation_id)).toBe('HELD');
    await temporal.restore();
    await becomes(held.reservation_id, 'CONFIRMED');
  });

  test('and a process dies that has stored one, another delivers it', async () => {
    const temporal = await openLink(new URL(`tcp://${inject('temporal_address')}`));
    const dying = await startApi(system.stores, 600, undefined, { ...settings, TEMPORAL_ADDRESS: temporal.address });
    const held = await hold();
    const event = eventOf(held.reservation_id, await payAtGateway(held));
    await temporal.refuse();
    expect((await tell(event, buyerAt(dying.url))).status).toBe(202);
    await dying.stop();
    const successor = await startApi(system.stores, 600);
    onTestFinished(() => successor.stop());
    await becomes(held.reservation_id, 'CONFIRMED');
  });
});

test('while PostgreSQL is away nothing is acknowledged', async () => {
  const database = connectPostgres('postgres://127.0.0.1:1/nowhere', 1, log);
  const api = await startApi({ ...system.stores, database }, 600, undefined, settings);
  onTestFinished(async () => {
    await api.stop();
    await database.end();
  });
  const reply = await tell(eventOf('res_none', 'ch_none'), buyerAt(api.url));
  expectProblem(reply, 503, 'UNAVAILABLE');
  expect(reply.headers.get('retry-after')).toMatch(/^\d+$/);
});

test('without a secret there is no such route', async () => {
  const api = await startApi(system.stores, 600);
  onTestFinished(() => api.stop());
  expectProblem(await tell(eventOf('res_none', 'ch_none'), buyerAt(api.url)), 404, 'NOT_FOUND');
});
