/** The one reader of the environment. A wrong value stops the start with one line that says how to mend it. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

/** A setting that cannot be used; its message is the one line to print. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

const port = (otherwise: number) => Type.Integer({ minimum: 0, maximum: 65_535, default: otherwise });
const url = (scheme: string) => Type.Refine(Type.String({ pattern: `^${scheme}://.+` }), (it) => URL.canParse(it));
const refined = (isRight: (text: string) => boolean) => Type.Optional(Type.Refine(Type.String(), isRight));

const LOOPBACK = /^(localhost|::1|(::ffff:)?127(\.\d{1,3}){3})$/;

/** Whether only this machine can be behind an address, as sockets write it; of names, `localhost` alone. */
export const isLoopback = (address: string) => LOOPBACK.test(address);

/** Keys are fetched in the clear from this machine alone. */
function isKeyServer(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname.replace(/^\[(.*)\]$/, '$1')));
}

/** The entries of a list with commas. */
export const listOf = (text: string | undefined) =>
  (text ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean);

const isOrigin = (text: string) => /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text;

/** An address, or a range of them as `10.0.0.0/8`. */
function isAddressRange(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return more.length === 0 && most > 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most));
}

const isTrustedProxy = (text: string) => /^\d{1,2}$/.test(text) || listOf(text).every(isAddressRange);

/** 32 bytes in base64. */
const KEY = '[A-Za-z0-9+/]{43}=';

const Environment = Type.Object({
  PORT: port(3000),
  HOST: Type.String({ minLength: 1, default: '127.0.0.1' }),
  DATABASE_URL: Type.Optional(url('postgres(ql)?')),
  REDIS_URL: Type.Optional(url('rediss?')),
  REDIS_CACHE_URL: Type.Optional(url('rediss?')),
  TEMPORAL_ADDRESS: Type.Optional(Type.String({ pattern: '^([^:/ ]+|\\[[0-9a-f:]+\\]):[0-9]{1,5}$' })),
  TEMPORAL_NAMESPACE: Type.String({ minLength: 1, default: 'default' }),
  DEPLOYMENT_VERSION: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_.-]{1,64}$' })),
  HOLD_SECONDS: Type.Integer({ minimum: 1, maximum: 3600, default: 600 }),
  PAYMENT_GATEWAY: Type.Enum(['sandbox'], { default: 'sandbox' }),
  DATA_DIR: Type.String({ minLength: 1, default: '.data' }),
  SEED_EVENTS: Type.Enum(['auto', 'on', 'true', '1', 'off', 'false', '0'], { default: 'auto' }),
  SMTP_URL: Type.Optional(url('smtps?')),
  MAIL_FROM: Type.String({ minLength: 3, default: 'Box office <box-office@localhost>' }),
  JWT_SECRET: refined((text) => Buffer.byteLength(text) >= 32),
  JWKS_URL: refined(isKeyServer),
  JWT_ISSUER: Type.Optional(Type.String()),
  JWT_AUDIENCE: Type.Optional(Type.String()),
  RATE_LIMIT_USER: Type.Integer({ minimum: 1, maximum: 1_000_000, default: 20 }),
  RATE_LIMIT_ADDRESS: Type.Integer({ minimum: 1, maximum: 1_000_000, default: 2_000 }),
  TRUST_PROXY: refined(isTrustedProxy),
  CORS_ORIGINS: refined((text) => listOf(text).every(isOrigin)),
  WEBHOOK_SECRET: refined((text) => text.split(',').every((secret) => secret.trim().length >= 32)),
  ENCRYPTION_KEY: Type.Optional(Type.String({ pattern: `^${KEY}(,${KEY})*$` })),
  LOG_LEVEL: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'], { default: 'info' }),
});

/** Every setting, as the environment gives it or by its default. */
export type Settings = Static<typeof Environment>;

/** What one of our processes needs to reach its services. */
export type Config = Settings & {
  DATABASE_URL: string;
  REDIS_URL: string;
  REDIS_CACHE_URL: string;
  TEMPORAL_ADDRESS: string;
};

const HINTS: Partial<Record<keyof Settings, string>> = {
  PORT: 'a port number from 0 to 65535',
  DATABASE_URL: 'a URL such as postgres://user:password@host:5432/holdfast',
  REDIS_URL: 'a URL such as redis://host:6379',
  REDIS_CACHE_URL: 'a URL such as redis://host:6379',
  TEMPORAL_ADDRESS: 'an address such as host:7233',
  DEPLOYMENT_VERSION: 'up to 64 letters, digits, dots, dashes and underscores',
  HOLD_SECONDS: 'a whole number of seconds from 1 to 3600',
  PAYMENT_GATEWAY: 'sandbox',
  SEED_EVENTS: 'auto, on or off',
  SMTP_URL: 'a URL such as smtp://host:25',
  JWT_SECRET: 'a secret of at least 32 bytes, for example from `openssl rand -hex 32`',
  JWKS_URL: 'an https URL of a JSON Web Key Set (http on this machine alone)',
  RATE_LIMIT_USER: 'a whole number from 1 to 1000000',
  RATE_LIMIT_ADDRESS: 'a whole number from 1 to 1000000',
  TRUST_PROXY: 'the number of proxies in front of the API, or their addresses such as 10.0.0.0/8,192.0.2.1',
  CORS_ORIGINS: 'origins such as https://shop.example,https://app.example',
  WEBHOOK_SECRET: 'a secret of at least 32 characters, or several of these separated by commas',
  ENCRYPTION_KEY: 'what `openssl rand -base64 32` prints, or several of these separated by commas',
  LOG_LEVEL: 'trace, debug, info, warn, error or silent',
};

/**
 * Reads the settings; an empty variable counts as not set.
 * @throws ConfigError naming the first wrong variable and what it must be; the value is not repeated, it may be a secret
 */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const given = Object.entries(Environment.properties)
    .filter(([name]) => environment[name])
    .map(([name, schema]) => [name, Type.IsInteger(schema) ? wholeNumber(environment[name]) : environment[name]]);
  const settings: unknown = Value.Default(Environment, Object.fromEntries(given));
  if (Value.Check(Environment, settings)) return requireProtection(settings);
  const name = Value.Errors(Environment, settings)[0]?.instancePath.slice(1) ?? '';
  const hint = Object.entries(HINTS).find(([setting]) => setting === name)?.[1] ?? 'a non-empty value';
  throw new ConfigError(`${name} is wrong: set it to ${hint}`);
}

/**
 * Whoever can reach the API must be asked who they are, unless that is this machine alone.
 * @throws ConfigError where no key is set and HOST is no loopback address, or where two keys are set
 */
export function requireKeyOrLoopback({ HOST, JWT_SECRET, JWKS_URL }: Settings): void {
  if (JWT_SECRET !== undefined && JWKS_URL !== undefined) {
    throw new ConfigError('JWT_SECRET and JWKS_URL are both set: keep the one whose tokens are to be taken');
  }
  if (JWT_SECRET === undefined && JWKS_URL === undefined && !isLoopback(HOST)) {
    throw new ConfigError(
      `HOST is ${HOST} and nobody would be asked who they are: set JWT_SECRET or JWKS_URL, or HOST=127.0.0.1`,
    );
  }
}

/**
 * What is a game on this machine is somebody's data elsewhere: there, nothing of it is kept in the clear.
 * @throws ConfigError where it would be
 */
function requireProtection(settings: Settings): Settings {
  const isGame = isLoopback(settings.HOST) && settings.PAYMENT_GATEWAY === 'sandbox';
  if (!isGame && settings.ENCRYPTION_KEY === undefined) {
    throw new ConfigError(`ENCRYPTION_KEY is not set: set it to ${HINTS.ENCRYPTION_KEY}, or HOST to 127.0.0.1`);
  }
  return settings;
}

/** Only digits make a number: `1.5` and `0x10` are mistakes that a lenient conversion would hide. */
const wholeNumber = (text = '') => (/^[0-9]+$/.test(text) ? Number(text) : text);

const Services = Type.Object({
  database_url: Type.Optional(Type.String()),
  redis_url: Type.Optional(Type.String()),
  temporal_address: Type.Optional(Type.String()),
});

/** The addresses of embedded services that `npm start` noted in the data folder; none where it does not run. */
function embeddedServices(dataDir: string): Static<typeof Services> {
  try {
    return Value.Parse(Services, JSON.parse(readFileSync(join(dataDir, 'services.json'), 'utf8')));
  } catch {
    return {};
  }
}

/**
 * Settings with every address known: from the environment, else from the embedded services of a running `npm start`.
 * @throws ConfigError when one is missing
 */
export function readConfig(environment: NodeJS.ProcessEnv): Config {
  const settings = readSettings(environment);
  const embedded = embeddedServices(settings.DATA_DIR);
  const address = (name: keyof Settings, given: string | undefined, found: string | undefined) => {
    const known = given ?? found;
    if (known !== undefined) return known;
    throw new ConfigError(`${name} is not set and nothing runs in ${settings.DATA_DIR}: set it, or run npm start`);
  };
  const REDIS_URL = address('REDIS_URL', settings.REDIS_URL, embedded.redis_url);
  return {
    ...settings,
    DATABASE_URL: address('DATABASE_URL', settings.DATABASE_URL, embedded.database_url),
    REDIS_URL,
    REDIS_CACHE_URL: settings.REDIS_CACHE_URL ?? REDIS_URL,
    TEMPORAL_ADDRESS: address('TEMPORAL_ADDRESS', settings.TEMPORAL_ADDRESS, embedded.temporal_address),
  };
}
