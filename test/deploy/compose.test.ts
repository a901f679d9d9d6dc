import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { unavailable } from '../../api/problems.ts';

interface Service {
  image?: string;
  command?: string | string[];
  environment?: Record<string, string>;
  healthcheck?: object;
  restart?: string;
  ports?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
}

interface Compose {
  services: Record<string, Service>;
}

const root = path.resolve(import.meta.dirname, '../..');
const text = readFileSync(path.join(root, 'docker-compose.yml'), 'utf8');
const compose: Compose = parse(text, { merge: true });
const services = Object.entries(compose.services);

function service(name: string): Service {
  const found = compose.services[name];
  if (!found) throw new Error(`no service ${name}`);
  return found;
}

function composeSchema(): object {
  const require = createRequire(import.meta.url);
  const dclint = path.dirname(require.resolve('dclint/package.json'));
  const schema: object = JSON.parse(readFileSync(path.join(dclint, 'schemas/compose.schema.json'), 'utf8'));
  // The schema names its dialect by https; Ajv knows draft 7 by http.
  return { ...schema, $schema: 'http://json-schema.org/draft-07/schema#' };
}

test('follows the compose specification', () => {
  const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(composeSchema());
  validate(compose);
  expect(validate.errors ?? []).toEqual([]);
});

test.each(['api', 'api-reads', 'worker', 'migrate'])('%s is told where everything is', (name) => {
  const { environment } = service(name);
  expect(environment?.DATABASE_URL).toMatch(/@postgres:5432\/holdfast$/);
  expect(environment).toMatchObject({
    REDIS_URL: 'redis://redis-locks:6379',
    REDIS_CACHE_URL: 'redis://redis-cache:6379',
    TEMPORAL_ADDRESS: 'temporal:7233',
    TEMPORAL_NAMESPACE: service('temporal-namespace').environment?.TEMPORAL_NAMESPACE,
    HOST: '0.0.0.0',
    PORT: '3000',
    SMTP_URL: 'smtp://mail:1025',
    PAYMENT_GATEWAY: 'sandbox',
    HOLD_SECONDS: '${HOLD_SECONDS:-600}',
  });
});

test('the APIs alone have the key of the tokens, and believe the edge whose request it passes on', () => {
  const withKey = services.filter(([, { environment }]) => environment?.JWT_SECRET !== undefined);
  expect(withKey.map(([name]) => name)).toEqual(['api', 'api-reads']);
  for (const [, api] of withKey) {
    expect(api.environment).toMatchObject({ TRUST_PROXY: '1' });
    expect(api.ports).toBeUndefined();
  }
});

test('what is promoted is the version that runs', () => {
  const version = service('promote').environment?.DEPLOYMENT_VERSION;
  expect(version).toBe('${DEPLOYMENT_VERSION:-0.1.0}');
  for (const name of ['api', 'api-reads', 'worker']) {
    expect(service(name).environment?.DEPLOYMENT_VERSION, name).toBe(version);
    expect(service(name).image, name).toBe(`holdfast:${version}`);
  }
});

test('locks are never evicted and survive a restart', () => {
  expect(service('redis-locks').command).toContain('--maxmemory-policy noeviction');
  expect(service('redis-locks').command).toContain('--appendonly yes --appendfsync everysec');
  expect(service('redis-locks').volumes).toContain('redis-locks:/data');
});

test('the cache makes room for itself and is not persisted', () => {
  expect(service('redis-cache').command).toContain('--maxmemory 256mb --maxmemory-policy volatile-lru');
  expect(service('redis-cache').command).toContain('--appendonly no --save ""');
});

test('a dependency is waited for until it is healthy, or done', () => {
  for (const [name, { depends_on = {} }] of services) {
    for (const [dependency, { condition }] of Object.entries(depends_on)) {
      const { healthcheck, restart } = service(dependency);
      const isOneShot = restart?.startsWith('on-failure') === true;
      expect(condition, `${name} waits for ${dependency}`).toBe(
        isOneShot ? 'service_completed_successfully' : 'service_healthy',
      );
      expect(healthcheck !== undefined, `${dependency} has a health check`).toBe(!isOneShot);
    }
  }
});

test('every image has a pinned version', () => {
  for (const [name, { image }] of services) {
    expect(image?.replace(/\$\{\w+:-(.*)\}/, '$1'), name).toMatch(/^[\w./-]+:v?\d+\.\d+[\w.-]*$/);
  }
});

test('ports are open to this machine only', () => {
  for (const port of services.flatMap(([, { ports = [] }]) => ports)) expect(port).toMatch(/^127\.0\.0\.1:/);
});

test('no secret is in the file, and .env.example names each that is asked for', () => {
  const example = readFileSync(path.join(root, '.env.example'), 'utf8');
  const required = new Set([...text.matchAll(/\$\{(\w+):\?/g)].map(([, name]) => name));
  expect(required).toEqual(
    new Set(['ENCRYPTION_KEY', 'HOLDFAST_DB_PASSWORD', 'JWT_SECRET', 'POSTGRES_PASSWORD', 'TEMPORAL_DB_PASSWORD']),
  );
  for (const name of required) expect(example).toMatch(new RegExp(`^${name}=$`, 'm'));

  const secrets = services
    .flatMap(([, { environment = {} }]) => Object.entries(environment))
    .filter(([key]) => /PASSWORD|PWD|SECRET|ENCRYPTION_KEY|DATABASE_URL/.test(key));
  for (const [key, value] of secrets) expect(value, key).toMatch(/\$\{\w+:(\?|-\}$)/);
});

test('every file that is mounted is in the repository', () => {
  const files = services.flatMap(([, { volumes = [] }]) => volumes).filter((volume) => volume.startsWith('./'));
  expect(files).not.toEqual([]);
  for (const file of files) expect(existsSync(path.join(root, file.split(':')[0] ?? '')), file).toBe(true);
});

test('operators can search by what the contract names', () => {
  const script = readFileSync(path.join(root, 'deploy/temporal-namespace.sh'), 'utf8');
  for (const attribute of ['EventId', 'UserId', 'ReservationStatus']) {
    expect(script).toContain(`--name ${attribute} --type Keyword`);
  }
});

test('every folder that is built is sent to the builder of the image', () => {
  const lines = (file: string) => readFileSync(path.join(root, file), 'utf8');
  const { include }: { include: string[] } = JSON.parse(lines('tsconfig.build.json'));
  const sent = lines('.dockerignore').split('\n');
  for (const folder of include.filter((it) => !it.startsWith('test/'))) expect(sent).toContain(`!${folder}`);
});

test('the edge that does not reach the API says so in its words', () => {
  const edge = readFileSync(path.join(root, 'deploy/nginx.conf'), 'utf8');
  const body: unknown = JSON.parse(/return 503 '(.*)';/.exec(edge)?.[1] ?? '');
  expect(body).toEqual(unavailable('The service cannot be reached. Retry with the same Idempotency-Key.').toBody('/'));
});
