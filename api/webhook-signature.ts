import { createHmac, timingSafeEqual } from 'node:crypto';
import { Problem } from './problems.ts';

/** How far apart the sender's clock and ours may be, and so how long a webhook that was overheard is good for. */
const TOLERANCE_SECONDS = 300;

const TIMESTAMP = /^t=(\d{1,15})$/;
const SIGNATURE = /^v1=([0-9a-f]{64})$/;

const refusal = (detail: string) => new Problem('INVALID_SIGNATURE', detail);

/**
 * Whether a webhook is from who knows one of the secrets: `Webhook-Signature: t=<unix seconds>,v1=<hex>`, where v1 is
 * the HMAC-SHA256 of `<t>.<body>` over the body's bytes as they came. After Stripe's scheme: there may be several v1,
 * while a secret is rotated, and what else is there is another scheme's.
 * @throws Problem INVALID_SIGNATURE
 */
export function verifySignature(header: string | undefined, body: Buffer, secrets: string[]): void {
  const parts = (header ?? '').split(',').map((part) => part.trim());
  const [timestamp, ...more] = parts.flatMap((part) => TIMESTAMP.exec(part)?.[1] ?? []);
  const given = parts.flatMap((part) => SIGNATURE.exec(part)?.[1] ?? []);
  if (timestamp === undefined || more.length > 0 || given.length === 0) {
    throw refusal('Webhook-Signature must be t=<unix seconds>,v1=<hex of an HMAC-SHA256>.');
  }
  const signatures = given.map((hex) => Buffer.from(hex, 'hex'));
  const isKnown = secrets
    .map((secret) => createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest())
    .some((expected) => signatures.some((signature) => timingSafeEqual(signature, expected)));
  if (!isKnown) throw refusal('The signature is not that of this body and time.');
  if (Math.abs(Date.now() / 1_000 - Number(timestamp)) > TOLERANCE_SECONDS) {
    throw refusal(`The webhook was signed more than ${TOLERANCE_SECONDS} s before or after now.`);
  }
}
