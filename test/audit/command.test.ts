/** `npm run audit` as an operator sees it. */
import { afterAll, expect, inject, test } from 'vitest';
import { freePort } from '../../dev/ports.ts';
import { addEvent } from '../support/house.ts';
import { npm } from '../support/command.ts';
import { openStores } from '../support/stores.ts';

const stores = await openStores();
afterAll(stores.close);

async function audit(args: string[], settings: Record<string, string> = {}) {
  const command = npm(['run', '--silent', 'audit', '--', ...args], {
    DATABASE_URL: stores.databaseUrl,
    REDIS_URL: stores.redisUrl,
    TEMPORAL_ADDRESS: inject('temporal_address'),
    TEMPORAL_NAMESPACE: stores.namespace,
    ...settings,
  });
  return { code: await command.ended, ...command.said };
}

test('tells of each event what is wrong, and by its exit code whether anything is', async () => {
  const { event_id, seat_ids } = await addEvent(stores.database, 2);
  const clean = await audit([]);
  expect(clean).toMatchObject({ code: 0, stdout: expect.stringContaining(event_id) });
  expect(clean.stdout).toContain('demo-stadium');
  expect(clean.stdout).toMatch(/nothing is wrong\n$/);

  await stores.database.query(`UPDATE seats SET status = 'BOOKED', reservation_id = 'res_nobody' WHERE seat_id = $1`, [
    seat_ids[1],
  ]);
  const faulty = await audit([event_id]);
  expect(faulty).toMatchObject({ code: 1, stdout: expect.stringMatching(/\n1 wrong\n$/) });
  expect(faulty.stdout).toMatch(new RegExp(`orphaned_seats +1 +${seat_ids[1]}\n`));
  expect(faulty.stdout).not.toContain('demo-stadium');
}, 60_000);

test('an event that is not there, or a store that is away, is told of with another exit code', async () => {
  const nowhere = `127.0.0.1:${await freePort()}`;
  const answers = await Promise.all([
    audit(['no-such-event']),
    audit([], { DATABASE_URL: `postgres://ann@${nowhere}/holdfast` }),
    audit([], { REDIS_URL: `redis://${nowhere}` }),
    audit([], { TEMPORAL_ADDRESS: nowhere }),
  ]);
  expect(answers.map(({ code, stdout }) => [code, stdout])).toEqual(answers.map(() => [2, '']));
  expect(answers.map(({ stderr }) => stderr)).toEqual([
    expect.stringMatching(/^there is no event no-such-event\n$/m),
    expect.stringMatching(/^PostgreSQL does not answer/m),
    expect.stringMatching(/^Redis does not answer/m),
    expect.stringMatching(/^Temporal does not answer/m),
  ]);
}, 60_000);
