/** What Temporal keeps of a reservation where there is an ENCRYPTION_KEY: nothing that tells who bought, or with what. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Client, Connection } from '@temporalio/client';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import proto from '@temporalio/proto';
import { Worker } from '@temporalio/worker';
import { SMTPServer } from 'smtp-server';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { freePort } from '../../dev/ports.ts';
import { createDataConverter, createPayloadCodec } from '../../runtime/payload-codec.ts';
import { payment } from '../../workflows/messages.ts';
import { buyerAt, type Buyer } from '../support/buyer.ts';
import { expectProblem } from '../support/expect-problem.ts';
import { openStores, type Stores } from '../support/stores.ts';
import { startApi, startSystem, startWorkers, workflowBundle } from '../support/system.ts';
import { until } from '../support/until.ts';

const { History } = proto.temporal.api.history.v1;
const { DescribeWorkflowExecutionResponse } = proto.temporal.api.workflowservice.v1;

const newKey = () => randomBytes(32).toString('base64');
const secret = { amount: 8_500, email: 'ann@example.com' };

/** As a worker has it with these keys. */
function codecOf(...keys: string[]) {
  const codec = createPayloadCodec(keys.join());
  if (!codec) throw new Error('no codec');
  return {
    encode: async (value: unknown) => {
      const [payload] = await codec.encode([defaultPayloadConverter.toPayload(value)]);
      if (!payload) throw new Error('no payload');
      return payload;
    },
    decode: async (payload: Payload) => {
      const [plain] = await codec.decode([payload]);
      return plain && defaultPayloadConverter.fromPayload(plain);
    },
  };
}

describe('a payload', () => {
  test('comes back as it was, and no two are alike', async () => {
    const codec = codecOf(newKey());
    const payloads = await Promise.all(Array.from({ length: 1_000 }, () => codec.encode(secret)));
    expect(new Set(payloads.map(({ data }) => Buffer.from(data ?? []).toString('hex'))).size).toBe(1_000);
    for (const payload of payloads.slice(0, 10)) expect(await codec.decode(payload)).toEqual(secret);
  });

  test('says in the open that it is encrypted and with which key, and nothing else', async () => {
    const key = newKey();
    const { metadata } = await codecOf(key).encode(secret);
    expect(Object.keys(metadata ?? {}).sort()).toEqual(['encoding', 'encryption-key-id']);
    expect(Buffer.from(metadata?.['encoding'] ?? []).toString()).toBe('binary/encrypted');
    const keyId = Buffer.from(metadata?.['encryption-key-id'] ?? []).toString();
    const bytes = Buffer.from(key, 'base64');
    expect(bytes.toString('hex')).not.toContain(keyId);
    expect(createHash('sha256').update(bytes).digest('hex')).not.toContain(keyId);
  });

  test('of which one bit was changed anywhere is refused', async () => {
    const codec = codecOf(newKey());
    const sealed = await codec.encode('tok_visa');
    const data = Buffer.from(sealed.data ?? []);
    for (let bit = 0; bit < data.length * 8; bit++) {
      const altered = Buffer.from(data);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await expect(codec.decode({ ...sealed, data: altered })).rejects.toThrow('altered or cut short');
    }
  });

  test('that was cut short, emptied or made longer is refused', async () => {
    const codec = codecOf(newKey());
    const sealed = await codec.encode('tok_visa');
    const data = Buffer.from(sealed.data ?? []);
    const wrong = [
      ...Array.from(data, (_, length) => data.subarray(0, length)),
      Buffer.concat([data, Buffer.alloc(1)]),
    ];
    for (const part of wrong) await expect(codec.decode({ ...sealed, data: part })).rejects.toThrow('cut short');
    await expect(codec.decode({ metadata: sealed.metadata ?? {} })).rejects.toThrow('cut short');
  });

  test('is read with the older keys and written with the first', async () => {
    const [older, newer] = [newKey(), newKey()];
    const old = await codecOf(older).encode(secret);
    const rotating = codecOf(newer, older);
    expect(await rotating.decode(old)).toEqual(secret);
    const written = await rotating.encode(secret);
    expect(await codecOf(newer).decode(written)).toEqual(secret);
    expect(await codecOf(older, newer).decode(written)).toEqual(secret);
    const keyId = Buffer.from(old.metadata?.['encryption-key-id'] ?? []).toString();
    await expect(codecOf(newer).decode(old)).rejects.toThrow(`the key ${keyId}, which is not in ENCRYPTION_KEY`);
  });

  test('that is plain passes, as an operator sends it or an old history has it', async () => {
    expect(await codecOf(newKey()).decode(defaultPayloadConverter.toPayload(secret))).toEqual(secret);
  });
});

describe('a reservation', () => {
  const encryptionKey = newKey();
  const USER = 'ann.secret@example.com';
  /** Takes no mail, and says for whom. */
  const mailServer = new SMTPServer({
    authOptional: true,
    hideSTARTTLS: true,
    onRcptTo: ({ address }, _session, answer) => answer(new Error(`no mailbox ${address}`)),
  });
  let system: Awaited<ReturnType<typeof startSystem>>;
  let buyer: Buyer;
  let stranger: Client;
  beforeAll(async () => {
    const port = await freePort();
    await once(mailServer.listen(port, '127.0.0.1'), 'listening');
    system = await startSystem({
      settings: { ENCRYPTION_KEY: encryptionKey, SMTP_URL: `smtp://127.0.0.1:${port}` },
    });
    buyer = buyerAt(system.url);
    const connection = await Connection.connect({ address: inject('temporal_address') });
    stranger = new Client({ connection, namespace: system.stores.namespace });
  });
  afterAll(async () => {
    await stranger.connection.close();
    await system.stop();
    await new Promise<void>((resolve) => mailServer.close(resolve));
  });

  /** A text as it may stand in JSON: as it is, in hexadecimal, or as part of something in base64. */
  const spellings = (text: string) => [
    text,
    Buffer.from(text).toString('hex'),
    ...[0, 1, 2].map((before) =>
      Buffer.concat([Buffer.alloc(before), Buffer.from(text)])
        .toString('base64')
        .replace(/[^=]{2,3}=+$/, '')
        .slice(before === 0 ? 0 : 4),
    ),
  ];
  const tells = (json: string, word: string) => spellings(word).some((spelling) => json.includes(spelling));

  /** As JSON without the search attributes, which are plain: operators search by them. */
  const toJson = (value: unknown) =>
    JSON.stringify(value, (name, it: unknown) => (name === 'searchAttributes' ? undefined : it));

  /** All that Temporal has of a workflow: its history, and what its activities failed with. */
  async function readAsStranger(workflowId: string): Promise<string> {
    const workflow = stranger.workflow.getHandle(workflowId);
    const raw = await until('the mail has failed', async () => {
      const description = await workflow.describe();
      return description.raw.pendingActivities?.[0]?.lastFailure ? description.raw : undefined;
    });
    const readable = { longs: String, bytes: String };
    return toJson([
      History.toObject(History.create(await workflow.fetchHistory()), readable),
      DescribeWorkflowExecutionResponse.toObject(DescribeWorkflowExecutionResponse.create(raw), readable),
    ]);
  }

  async function buy(seat: string) {
    const held = await buyer.hold('demo-theatre', [seat], USER);
    expect(held.status).toBe(201);
    const { reservation_id } = held.body;
    expect((await buyer.payAndWait(reservation_id, 'tok_declined')).status).toBe(402);
    expect((await buyer.payAndWait(reservation_id, 'tok_visa')).status).toBe(201);
    const [, charge] = await buyer.charges(reservation_id);
    return { reservation_id, charge_id: charge?.charge_id ?? '' };
  }

  test('is held, declined and paid for as ever, and what Temporal has of it gives nothing away', async () => {
    const { reservation_id, charge_id } = await buy('demo-theatre-stalls-1-1');
    const kept = await readAsStranger(reservation_id);
    const told = [USER, 'tok_visa', 'tok_declined', charge_id].filter((word) => tells(kept, word));
    expect(told).toEqual([]);
    expect(kept).toContain('"eagerExecutionAccepted":true');
    const { searchAttributes } = await stranger.workflow.getHandle(reservation_id).describe();
    expect(searchAttributes).toMatchObject({ EventId: ['demo-theatre'], UserId: [USER] });
  });

  test.each(['', 'x', 'xy'])('would be told by its spelling after "%s"', (before) => {
    const data = Buffer.from(`${before}${USER}"`).toString('base64');
    expect(tells(toJson({ data }), USER)).toBe(true);
  });

  test('replays after its key was rotated', async () => {
    const { reservation_id } = await buy('demo-theatre-stalls-1-2');
    const history = await stranger.workflow.getHandle(reservation_id).fetchHistory();
    const dataConverter = createDataConverter(createPayloadCodec(`${newKey()},${encryptionKey}`));
    await expect(
      Worker.runReplayHistory({ workflowBundle: workflowBundle(), dataConverter }, history, reservation_id),
    ).resolves.toBeUndefined();
  });

  test("takes an operator's plain signal", async () => {
    const held = await buyer.hold('demo-theatre', ['demo-theatre-stalls-1-3'], USER);
    await stranger.workflow.getHandle(held.body.reservation_id).signal(payment, { payment_token: 'tok_visa' });
    const status = async () => (await buyer.reservation(held.body.reservation_id)).body.status;
    await expect.poll(status, { timeout: 10_000 }).toBe('CONFIRMED');
  });
});

describe('while the keys of one process after another are exchanged', () => {
  const [older, newer] = [newKey(), newKey()];
  const started: { stop(): Promise<void> }[] = [];
  let stores: Stores;
  let rotated: Buyer;
  beforeAll(async () => {
    stores = await openStores();
    rotated = await startWith(`${newer},${older}`);
    started.push(await startWorkers(stores, undefined, undefined, `${newer},${older}`));
  });
  afterAll(async () => {
    for (const it of started.reverse()) await it.stop();
    await stores.close();
  });

  async function startWith(ENCRYPTION_KEY: string): Promise<Buyer> {
    const api = await startApi(stores, 600, undefined, { ENCRYPTION_KEY });
    started.push(api);
    return buyerAt(api.url);
  }

  /** By the process with the new key in front, which from then on writes what becomes of the reservation. */
  async function hold(seat: string): Promise<string> {
    const held = await rotated.hold('demo-theatre', [seat]);
    expect(held.status).toBe(201);
    return held.body.reservation_id;
  }

  test('one that has the new key behind the old one reads what others write', async () => {
    const ready = await startWith(`${older},${newer}`);
    expect((await ready.payAndWait(await hold('demo-theatre-stalls-2-1'), 'tok_visa')).status).toBe(201);
    expect((await ready.payAndWait(await hold('demo-theatre-stalls-2-2'), 'tok_declined')).status).toBe(402);
    expect((await ready.release(await hold('demo-theatre-stalls-2-3'))).status).toBe(200);
  });

  test('one that has not the new key says that it does not know what became of a payment or a release', async () => {
    const late = await startWith(older);
    const [paid, declined, released] = [
      await hold('demo-theatre-stalls-3-1'),
      await hold('demo-theatre-stalls-3-2'),
      await hold('demo-theatre-stalls-3-3'),
    ];
    expectProblem(await late.payAndWait(paid, 'tok_visa'), 503, 'UNAVAILABLE');
    expect(await late.pay(paid, 'tok_visa')).toMatchObject({ status: 200, body: { status: 'CONFIRMED' } });
    expectProblem(await late.payAndWait(declined, 'tok_declined'), 503, 'UNAVAILABLE');
    expectProblem(await late.release(released), 503, 'UNAVAILABLE');
    expect(await late.release(released)).toMatchObject({ status: 200, body: { status: 'RELEASED' } });
  });
});
