import pino, { type Logger } from 'pino';

export type { Logger };

/** JSON lines on standard output; what could hold a secret is cut out before it is written. */
export function createLogger(name: string, level: string): Logger {
  return pino({
    name,
    level,
    redact: ['*.payment_token', '*.authorization', 'req.headers.authorization', 'req.headers["idempotency-key"]'],
  });
}
