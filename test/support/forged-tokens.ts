/** Tokens that nobody gave out, each made from a good one or from its key; the same for the same seed. */
import { createHmac, type KeyObject, sign } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { inAnHour } from './tokens.ts';

const encode = (part: unknown) =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');

type Sign = (text: string) => string;

export const hmac =
  (key: string | Buffer): Sign =>
  (text) =>
    createHmac('sha256', key).update(text).digest('base64url');
export const rsa =
  (key: KeyObject): Sign =>
  (text) =>
    sign('sha256', Buffer.from(text), key).toString('base64url');

export function jwt(header: unknown, claims: unknown, signed: Sign): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${signed(text)}`;
}

interface Genuine {
  header: { alg: string; kid?: string };
  sign: Sign;
  /** What a verifier that lets the token choose its algorithm would take for an HMAC key. */
  publicTexts: string[];
  /** Keys of the same kind that are not the API's. */
  foreign: Sign[];
}

/** The claims that the API under test demands. */
export const ISSUER = 'https://id.example';
export const AUDIENCE = 'box-office';

const good = (): JWTPayload => ({ sub: 'ann', roles: ['operator'], exp: inAnHour(), iss: ISSUER, aud: AUDIENCE });

/** @returns kinds of forgery by name: each makes another token with every call */
export function forgeries({ header, sign: signed, publicTexts, foreign }: Genuine, random: () => number) {
  const below = (most: number) => Math.floor(random() * most);
  const pick = <T>(of: T[]): T => of[below(of.length)] ?? of[0] ?? fail();
  const fail = (): never => {
    throw new TypeError('nothing to pick from');
  };
  const genuine = () => jwt(header, good(), signed);
  const text = (length: number) => Buffer.from(Array.from({ length }, () => below(256))).toString('base64url');
  const without = (claim: keyof ReturnType<typeof good>) => {
    const { [claim]: _, ...rest } = good();
    return rest;
  };
  const now = () => Math.floor(Date.now() / 1_000);

  return {
    'no algorithm': () =>
      jwt({ ...header, alg: pick(['none', 'None', 'NONE', 'nOnE', '']) }, good(), () => pick(['', text(32)])),
    'an algorithm of another kind': () =>
      jwt({ ...header, alg: pick(['HS384', 'HS512', 'RS384', 'PS256', 'ES384', 'dir', 'A128KW']) }, good(), signed),
    'a public key as a shared secret': () => jwt({ ...header, alg: 'HS256' }, good(), hmac(pick(publicTexts))),
    'another key': () => jwt(header, good(), pick(foreign)),
    'a key that the token brings': () =>
      jwt(
        {
          ...header,
          [pick(['jwk', 'x5c', 'jku', 'x5u'])]: pick<unknown>(['http://127.0.0.1:1/keys', { kty: 'oct', k: text(32) }]),
        },
        good(),
        pick(foreign),
      ),
    'a critical header': () => jwt({ ...header, crit: ['exp'], exp: 1 }, good(), signed),
    expired: () => jwt(header, { ...good(), exp: now() - 6 - below(1e9) }, signed),
    'not good yet': () => jwt(header, { ...good(), nbf: now() + 10 + below(1e6) }, signed),
    'without a claim': () => jwt(header, without(pick(['sub', 'exp', 'iss', 'aud'])), signed),
    'with a claim of a wrong kind': () =>
      jwt(
        header,
        {
          ...good(),
          ...pick<object>([
            { sub: '' },
            { sub: 7 },
            { sub: ['ann'] },
            { sub: 'a b' },
            { sub: 'x'.repeat(65) },
            { exp: `${inAnHour()}` },
            { exp: null },
            { nbf: 'now' },
          ]),
        },
        signed,
      ),
    'for others': () =>
      jwt(
        header,
        {
          ...good(),
          ...pick<object>([
            { iss: `${ISSUER}/` },
            { iss: 'https://evil.example' },
            { aud: 'mail' },
            { aud: ['mail', 'BOX-OFFICE'] },
            { aud: '' },
          ]),
        },
        signed,
      ),
    'cut off': () => genuine().slice(0, 1 + below(genuine().length - 2)),
    'one bit changed': () => {
      const parts = genuine()
        .split('.')
        .map((part) => Buffer.from(part, 'base64url'));
      const part = pick(parts);
      const at = below(part.length);
      part[at] = (part[at] ?? 0) ^ (1 << below(8));
      return parts.map((it) => it.toString('base64url')).join('.');
    },
    'other claims under a good signature': () => {
      const [head, , signature] = genuine().split('.');
      return [head, encode({ ...good(), sub: pick(['bob', 'eve', 'root']) }), signature].join('.');
    },
    random: () =>
      pick([
        text(below(200) + 1),
        `${text(20)}.${text(80)}.${text(32)}`,
        `${encode(header)}.${text(60)}.${text(32)}`,
        '..',
        '.',
        'undefined',
        'null',
      ]),
  };
}
