import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { DataDir } from '../../dev/data-dir.ts';
import { freePort } from '../../dev/ports.ts';
import { startServices } from '../../dev/services.ts';
import { Unreachable } from '../../runtime/connections.ts';

const log = () => undefined;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-services-'));
});
afterEach(() => rm(folder, { recursive: true }));

const given = () => ({
  database_url: Object.assign(new URL(inject('template_database_url')), { pathname: 'postgres' }).href,
  redis_url: inject('redis_url'),
  temporal_address: inject('temporal_address'),
});

test('services that are given are used where they are, and left running', async () => {
  const dataDir = await DataDir.acquire(folder, log);
  const services = await startServices({ dataDir, log, given: given() });
  expect(services).toMatchObject(given());
  await services.stop();
  await (await startServices({ dataDir, log, given: given() })).stop();
});

test.each([
  ['PostgreSQL', 'database_url', 'DATABASE_URL', (port: number) => `postgres://ann:secret@localhost:${port}/holdfast`],
  ['Redis', 'redis_url', 'REDIS_URL', (port: number) => `redis://:secret@localhost:${port}`],
  ['Redis', 'redis_cache_url', 'REDIS_CACHE_URL', (port: number) => `redis://:secret@localhost:${port}`],
  ['Temporal', 'temporal_address', 'TEMPORAL_ADDRESS', (port: number) => `localhost:${port}`],
])('%s that is not where it was given stops the start, and the setting is named', async (name, key, setting, at) => {
  const dataDir = await DataDir.acquire(folder, log);
  const wrong = { ...given(), [key]: at(await freePort()) };
  const error = await startServices({ dataDir, log, given: wrong }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(Unreachable);
  const { message } = error instanceof Unreachable ? error : { message: '' };
  expect(message).toMatch(
    new RegExp(
      `^${name} cannot be reached \\(.*(ECONNREFUSED|deadline).*\\): start it, or set ${setting} to where it runs$`,
    ),
  );
  expect(message).not.toContain('secret');
});
