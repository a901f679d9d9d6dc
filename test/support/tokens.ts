/** Tokens as the operator's own sign-in would give them out. */
import { createSecretKey } from 'node:crypto';
import { SignJWT, type JWTPayload } from 'jose';

export const JWT_SECRET = 'a secret of these tests, 32 bytes or more';

export const inAnHour = () => Math.floor(Date.now() / 1_000) + 3_600;

/** A token that is good for an hour, unless the claims say otherwise. */
export function tokenFor(sub: string, claims: JWTPayload = {}): Promise<string> {
  return new SignJWT({ sub, exp: inAnHour(), ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(createSecretKey(Buffer.from(JWT_SECRET)));
}

export const operatorToken = () => tokenFor('olga', { roles: ['operator'] });
