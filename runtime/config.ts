/** The one reader of the environment. A wrong value stops the start with one line that says how to mend it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

/** A setting that cannot be used; its message is the one line to print. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

const port = (otherwise: number) => Type.Integer({ minimum: 0, maximum: 65_535, default: otherwise });
const url = (scheme: string) => Type.Refine(Type.String({ pattern: `^${scheme}://.+` }), (it) => URL.canParse(it));

const Environment = Type.Object({
  PORT: port(3000),
  HOST: Type.String({ minLength: 1, default: '127.0.0.1' }),
  DATABASE_URL: Type.Optional(url('postgres(ql)?')),
  REDIS_URL: Type.Optional(url('rediss?')),
  REDIS_CACHE_URL: Type.Optional(url('rediss?')),
  TEMPORAL_ADDRESS: Type.Optional(Type.String({ pattern: '^([^:/ ]+|\\[[0-9a-f:]+\\]):[0-9]{1,5}$' })),
  TEMPORAL_NAMESPACE: Type.String({ minLength: 1, default: 'default' }),
  HOLD_SECONDS: Type.Integer({ minimum: 1, maximum: 3600, default: 600 }),
  PAYMENT_GATEWAY: Type.Enum(['sandbox'], { default: 'sandbox' }),
  DATA_DIR: Type.String({ minLength: 1, default: '.data' }),
  SEED_EVENTS: Type.Enum(['auto', 'on', 'true', '1', 'off', 'false', '0'], { default: 'auto' }),
  SMTP_URL: Type.Optional(url('smtps?')),
  MAIL_FROM: Type.String({ minLength: 3, default: 'Box office <box-office@localhost>' }),
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
  HOLD_SECONDS: 'a whole number of seconds from 1 to 3600',
  PAYMENT_GATEWAY: 'sandbox',
  SEED_EVENTS: 'auto, on or off',
  SMTP_URL: 'a URL such as smtp://host:25',
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
  if (Value.Check(Environment, settings)) return settings;
  const name = Value.Errors(Environment, settings)[0]?.instancePath.slice(1) ?? '';
  const hint = Object.entries(HINTS).find(([setting]) => setting === name)?.[1] ?? 'a non-empty value';
  throw new ConfigError(`${name} is wrong: set it to ${hint}`);
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
