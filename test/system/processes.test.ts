/** `npm run api` and `npm run worker` on services that run elsewhere, as in production. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { freePort } from '../../dev/ports.ts';
import { buyerAt, type Buyer } from '../support/buyer.ts';
import { descendantsOf, npm, type Command } from '../support/command.ts';
import { expectNoFaults } from '../support/expect-no-faults.ts';
import { openLink } from '../support/links.ts';
import { openStores, type Stores } from '../support/stores.ts';

const RECOVERY = { timeout: 30_000, interval: 100 };

let stores: Stores;
let temporalLink: Awaited<ReturnType<typeof openLink>>;
let settings: Record<string, string>;
let buyer: Buyer;
const commands: Command[] = [];
beforeAll(async () => {
  stores = await openStores();
  temporalLink = await openLink(new URL(`tcp://${stores.temporalAddress}`));
  settings = {
    DATABASE_URL: stores.databaseUrl,
    REDIS_URL: stores.redisUrl,
    TEMPORAL_ADDRESS: temporalLink.address,
    TEMPORAL_NAMESPACE: stores.namespace,
    PORT: String(await freePort()),
    HOLD_SECONDS: '120',
    RATE_LIMIT_USER: '1000',
  };
  const url = `http://127.0.0.1:${settings['PORT']}`;
  run('api');
  buyer = buyerAt(url);
  await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200), RECOVERY);
});
afterAll(async () => {
  await Promise.all(commands.map((command) => command.stop()));
  temporalLink.close();
  await stores.close();
});

function run(script: 'api' | 'worker'): Command {
  const command = npm(['run', '--silent', script], settings);
  commands.push(command);
  return command;
}

/** As a terminal or a supervisor does it, who tells the whole group; npm tells its child once more. */
async function stopGroup({ child, ended }: Command) {
  for (const pid of [child.pid ?? 0, ...(await descendantsOf(child))]) process.kill(pid, 'SIGTERM');
  return ended;
}

async function kill({ child, ended }: Command): Promise<void> {
  for (const pid of await descendantsOf(child)) process.kill(pid, 'SIGKILL');
  await ended;
}

async function askToPay(reservationId: string) {
  const { status, body } = await buyer.pay(reservationId, 'tok_visa');
  return { status, booking_id: body.booking_id };
}

const statusOf = async (bookingId: string) => (await buyer.booking(bookingId)).body.status;

test('a payment asked for while no worker runs is settled once, as soon as one does', async () => {
  const held = await buyer.hold('demo-theatre', ['demo-theatre-stalls-1-1']);
  expect(held.status).toBe(201);
  const { booking_id, status } = await askToPay(held.body.reservation_id);
  expect([status, await statusOf(booking_id)]).toEqual([202, 'PENDING']);

  const killed = run('worker');
  await expect.poll(() => statusOf(booking_id), RECOVERY).toBe('CONFIRMED');
  await kill(killed);

  const next = await buyer.hold('demo-theatre', ['demo-theatre-stalls-1-2']);
  expect(next.status).toBe(201);
  const payment = await askToPay(next.body.reservation_id);
  run('worker');
  await expect.poll(() => statusOf(payment.booking_id), RECOVERY).toBe('CONFIRMED');
  for (const { reservation_id } of [held.body, next.body]) {
    expect(await buyer.charges(reservation_id)).toMatchObject([{ status: 'CAPTURED' }]);
  }
  await expectNoFaults(stores);
});

test('without Temporal the log stays lines of JSON, the warnings of the SDK and its native core among them', async () => {
  const entries = () =>
    commands.flatMap(({ said }) => said.stdout.split('\n').slice(0, -1)).map((line) => JSON.parse(line));
  onTestFinished(temporalLink.restore);
  await temporalLink.refuse();
  await expect
    .poll(entries, { ...RECOVERY, timeout: 20_000 })
    .toContainEqual(expect.objectContaining({ level: 40, sdkComponent: 'core' }));
  expect(commands.map(({ said }) => said.stderr)).toEqual(commands.map(() => ''));
});

test('SIGTERM in the middle of a sale: who was let in is answered, what was answered is held and nothing else, both end with code 0', async () => {
  const running = commands.filter(({ child }) => child.exitCode === null && child.signalCode === null);
  expect(running.length).toBe(2);
  const held: string[] = [];
  const buy = async (row: number) => {
    for (let number = 1; number <= 30; number++) {
      const { status, body, headers } = await buyer.holdOnce(
        'demo-theatre',
        [`demo-theatre-circle-${row}-${number}`],
        `ann-${row}`,
      );
      if (status === 201) held.push(body.reservation_id);
      else {
        expect(status).toBe(503);
        await delay(Number(headers.get('retry-after')) * 1_000);
      }
    }
  };
  const buyers = [1, 2, 3, 4].map((row) => buy(row).catch((error: Error) => error.cause));
  await vi.waitFor(() => expect(held.length).toBeGreaterThan(4), RECOVERY);
  const [paidFor = ''] = held;
  const underWay = buyer.payAndWait(paidFor, 'tok_slow', 3);
  await expect.poll(async () => (await buyer.reservation(paidFor)).body.booking_id, RECOVERY).toBeDefined();
  expect(await Promise.all(running.map(stopGroup))).toEqual([0, 0]);
  expect([201, 202]).toContain((await underWay).status);
  // Who comes in the very moment of the close may see the connection made and reset by the kernel.
  const turnedAway = { code: expect.stringMatching(/^ECONN(REFUSED|RESET)$/) };
  for (const end of await Promise.all(buyers)) expect(end).toMatchObject(turnedAway);
  const { rows } = await stores.database.query(
    `SELECT reservation_id FROM reservations WHERE status = 'HELD' OR reservation_id = $1`,
    [paidFor],
  );
  expect(new Set(rows.map(({ reservation_id }) => reservation_id))).toEqual(new Set(held));
});
