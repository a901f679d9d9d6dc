/** Tokens as the operator's own sign-in would give them out. */
import { createSecretKey } from 'node:crypto';
import { SignJWT, type JWTPayload } from 'jose';
import { readSettings } from '../../runtime/config.ts';

const JWT_SECRET = 'a secret of these tests, 32 bytes or more';

/** An API that asks who calls, and where one user may write as often as a test likes. */
export const guarded = (settings: NodeJS.ProcessEnv = {}) =>
  readSettings({ JWT_SECRET, RATE_LIMIT_USER: '1000000', ...settings });

/** A token that is good for an hour, unless the claims say otherwise. */
export function tokenFor(sub: string, claims: JWTPayload = {}): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) + 3_600;
  return new SignJWT({ sub, exp, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(createSecretKey(Buffer.from(JWT_SECRET)));
}

export const operatorToken = () => tokenFor('olga', { roles: ['operator'] });
