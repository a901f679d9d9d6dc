import pino, { type DestinationStream, type Logger } from 'pino';

export type { Logger };

/** JSON lines on standard output, or on `destination`; what could hold a secret is cut out before it is written. */
export function createLogger(name: string, level: string, destination?: DestinationStream): Logger {
  const options = {
    name,
    level,
    redact: ['*.payment_token', '*.authorization', 'req.headers.authorization', 'req.headers["idempotency-key"]'],
  };
  return pino(options, destination ?? pino.destination(1));
}
