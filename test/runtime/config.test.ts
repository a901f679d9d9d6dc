import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigError, readConfig, readSettings } from '../../runtime/config.ts';
import { npm } from '../support/command.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-config-'));
afterAll(() => rmSync(dataDir, { recursive: true }));

const KEY = randomBytes(32).toString('base64');

const ADDRESSES = {
  DATABASE_URL: 'postgres://user:secret@db.example:5432/holdfast',
  REDIS_URL: 'redis://locks.example:6379',
  TEMPORAL_ADDRESS: 'temporal.example:7233',
};

/** What a start with these settings stops with. */
function refusalOf(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('settings', () => {
  test('have the defaults of a start without any', () => {
    expect(readSettings({})).toMatchObject({
      PORT: 3000,
      HOST: '127.0.0.1',
      TEMPORAL_NAMESPACE: 'default',
      HOLD_SECONDS: 600,
      PAYMENT_GATEWAY: 'sandbox',
      DATA_DIR: '.data',
      SEED_EVENTS: 'auto',
    });
  });

  test('that are empty count as not set', () => {
    const empty = Object.fromEntries(Object.keys({ ...readSettings({}), ...ADDRESSES }).map((name) => [name, '']));
    expect(readSettings(empty)).toEqual(readSettings({}));
  });

  test('are taken at the ends of what is allowed', () => {
    expect(readSettings({ PORT: '0', HOLD_SECONDS: '1' })).toMatchObject({ PORT: 0, HOLD_SECONDS: 1 });
    expect(readSettings({ PORT: '65535', HOLD_SECONDS: '3600' })).toMatchObject({ PORT: 65_535, HOLD_SECONDS: 3600 });
  });

  test.each(['1', '10.0.0.0/8', '192.0.2.1, 2001:db8::/32'])('take %s as proxies to believe', (proxies) => {
    expect(readSettings({ TRUST_PROXY: proxies }).TRUST_PROXY).toBe(proxies);
  });

  test.each(['temporal:7233', '10.0.0.7:7233', '[::1]:7233'])('take %s as an address of Temporal', (address) => {
    expect(readSettings({ TEMPORAL_ADDRESS: address }).TEMPORAL_ADDRESS).toBe(address);
  });

  test.each(['0.0.0.0', '192.168.1.7', '::', 'box-office.example', '128.0.0.1'])(
    'stop the start where HOST is %s and nothing is encrypted, in one line that says how to mend it',
    (HOST) => {
      const refusal = refusalOf(() => readSettings({ HOST }));
      expect(refusal).toMatch(/^ENCRYPTION_KEY is not set: set it to what `openssl rand -base64 32` prints.*$/);
      expect(readSettings({ HOST, ENCRYPTION_KEY: KEY })).toMatchObject({ HOST, ENCRYPTION_KEY: KEY });
    },
  );

  test.each(['127.0.0.1', '127.0.1.1', 'localhost', '::1'])('need no key where HOST is %s', (HOST) => {
    expect(readSettings({ HOST }).ENCRYPTION_KEY).toBeUndefined();
  });

  test('that are wrong are not repeated, as they may be secret', () => {
    const refusal = refusalOf(() => readSettings({ DATABASE_URL: 'postgres//user:secret@db.example/holdfast' }));
    expect(refusal).not.toMatch(/secret|db\.example/);
  });

  test.each([
    ['PORT', '65536', 'a port number from 0 to 65535'],
    ['PORT', '-1', 'a port number from 0 to 65535'],
    ['PORT', 'eighty', 'a port number from 0 to 65535'],
    ['PORT', ' 80 ', 'a port number from 0 to 65535'],
    ['PORT', '0x50', 'a port number from 0 to 65535'],
    ['PORT', 'true', 'a port number from 0 to 65535'],
    ['HOLD_SECONDS', '0', 'a whole number of seconds from 1 to 3600'],
    ['HOLD_SECONDS', '3601', 'a whole number of seconds from 1 to 3600'],
    ['HOLD_SECONDS', '1.5', 'a whole number of seconds from 1 to 3600'],
    ['HOLD_SECONDS', '10m', 'a whole number of seconds from 1 to 3600'],
    ['DATABASE_URL', 'mysql://user:secret@db.example/holdfast', 'a URL such as postgres://'],
    ['DATABASE_URL', 'postgres://user:secret@:port/x', 'a URL such as postgres://'],
    ['REDIS_URL', 'locks.example:6379', 'a URL such as redis://'],
    ['REDIS_CACHE_URL', 'http://cache.example', 'a URL such as redis://'],
    ['TEMPORAL_ADDRESS', 'http://temporal.example', 'an address such as host:7233'],
    ['TEMPORAL_ADDRESS', 'temporal.example', 'an address such as host:7233'],
    ['TEMPORAL_ADDRESS', '::1:7233', 'an address such as host:7233'],
    ['PAYMENT_GATEWAY', 'piggybank', 'sandbox'],
    ['SEED_EVENTS', 'maybe', 'auto, on or off'],
    ['SMTP_URL', 'mail.example', 'a URL such as smtp://'],
    ['WEBHOOK_SECRET', 'secret', 'a secret of at least 32 characters'],
    ['WEBHOOK_SECRET', `${'s'.repeat(32)},short`, 'a secret of at least 32 characters'],
    ['ENCRYPTION_KEY', 'secret', 'what `openssl rand -base64 32` prints'],
    ['ENCRYPTION_KEY', `${KEY},`, 'what `openssl rand -base64 32` prints'],
    ['ENCRYPTION_KEY', randomBytes(16).toString('base64'), 'what `openssl rand -base64 32` prints'],
    ['JWT_SECRET', 'a short secret', 'a secret of at least 32 bytes'],
    ['JWKS_URL', 'http://keys.example/', 'an https URL'],
    ['RATE_LIMIT_USER', '0', 'a whole number from 1'],
    ['RATE_LIMIT_ADDRESS', '-1', 'a whole number from 1'],
    ['TRUST_PROXY', 'true', 'the number of proxies'],
    ['TRUST_PROXY', '10.0.0.0/33', 'the number of proxies'],
    ['TRUST_PROXY', '10.0.0.1,edge.example', 'the number of proxies'],
    ['CORS_ORIGINS', '*', 'origins such as https://'],
    ['CORS_ORIGINS', 'https://shop.example/', 'origins such as https://'],
    ['LOG_LEVEL', 'loud', 'trace, debug, info'],
  ])('stop the start where %s is "%s", in one line that says how to mend it', (name, value, mend) => {
    const refusal = refusalOf(() => readSettings({ ...ADDRESSES, [name]: value }));
    expect(refusal).toMatch(new RegExp(`^${name} is wrong: set it to ${mend}`));
    expect(refusal).not.toContain('\n');
  });
});

describe('addresses', () => {
  test('come from the environment, with one Redis for both uses unless there are two', () => {
    expect(readConfig({ ...ADDRESSES, DATA_DIR: dataDir })).toMatchObject({
      ...ADDRESSES,
      REDIS_CACHE_URL: ADDRESSES.REDIS_URL,
    });
    const two = readConfig({ ...ADDRESSES, REDIS_CACHE_URL: 'redis://cache.example', DATA_DIR: dataDir });
    expect(two.REDIS_CACHE_URL).toBe('redis://cache.example');
  });

  test.each(Object.keys(ADDRESSES))('stop the start where %s is missing and nothing runs here', (name) => {
    const refusal = refusalOf(() => readConfig({ ...ADDRESSES, [name]: '', DATA_DIR: dataDir }));
    expect(refusal).toBe(`${name} is not set and nothing runs in ${dataDir}: set it, or run npm start`);
  });

  test('come from a running npm start where the environment gives none', () => {
    writeFileSync(
      join(dataDir, 'services.json'),
      JSON.stringify({
        owner_pid: process.pid,
        database_url: 'postgres://embedded/holdfast',
        redis_url: 'redis://embedded',
        temporal_address: 'embedded:7233',
      }),
    );
    expect(readConfig({ DATA_DIR: dataDir, REDIS_URL: ADDRESSES.REDIS_URL })).toMatchObject({
      DATABASE_URL: 'postgres://embedded/holdfast',
      REDIS_URL: ADDRESSES.REDIS_URL,
      TEMPORAL_ADDRESS: 'embedded:7233',
    });
  });
});

test.each<[string, ...string[]]>([
  ['run', '--silent', 'start'],
  ['run', '--silent', 'api'],
  ['run', '--silent', 'worker'],
  ['exec', '--call', 'node dist/db/main.js'],
])('npm %s %s "%s" with a wrong setting ends with code 1 and one line', async (...args) => {
  const command = npm(args, { ...ADDRESSES, DATA_DIR: dataDir, HOLD_SECONDS: 'secret' });
  expect(await command.ended).toBe(1);
  const lines = `${command.said.stdout}${command.said.stderr}`.trim().split('\n');
  const isProgress = (line: string) => line.endsWith(' …');
  expect(lines.filter((line) => !isProgress(line))).toEqual([expect.stringContaining('HOLD_SECONDS is wrong: set it')]);
  expect(command.said.stderr).not.toContain('secret');
});
