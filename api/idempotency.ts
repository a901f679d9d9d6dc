/**
 * Idempotency keys, kept in PostgreSQL: the first answer to a key is the answer to every repeat.
 * After the IETF draft "The Idempotency-Key HTTP Header Field".
 */
import { createHash } from 'node:crypto';
import type { Pool } from 'pg';
import { Problem } from './problems.ts';

/** What is sent, and what a repeat of its request is sent again. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: unknown;
}

export interface KeyedRequest {
  /** Whose keys, and for which call: the same word elsewhere is another key. */
  scope: string;
  /** Undefined: the request carries no key and is answered afresh. */
  key: string | undefined;
  body: Record<string, unknown>;
}

interface StoredAnswer {
  is_same_request: boolean;
  /** The key was there before. */
  is_repeat: boolean;
  response_status: number | null;
  response_headers: Record<string, string> | null;
  response_body: unknown;
}

/** A key is remembered at least this long. Each new key removes up to two older ones, so the table has a bound. */
const TAKE_KEY = `
WITH forgotten AS (
  DELETE FROM idempotency_keys WHERE (scope, key) IN (
    SELECT scope, key FROM idempotency_keys WHERE created_at < now() - interval '7 days'
    ORDER BY created_at LIMIT 2 FOR UPDATE SKIP LOCKED)
)
INSERT INTO idempotency_keys (scope, key, request_hash) VALUES ($1, $2, $3)
ON CONFLICT (scope, key) DO UPDATE SET key = excluded.key
RETURNING request_hash = $3 AS is_same_request, xmax <> 0 AS is_repeat, response_status, response_headers, response_body`;

/** The first answer stays. */
const STORE_ANSWER = `
UPDATE idempotency_keys SET response_status = $3, response_headers = $4, response_body = $5
WHERE scope = $1 AND key = $2 AND response_status IS NULL`;

/** Equal for equal bodies, whatever the order of their fields. */
const hashOf = (body: Record<string, unknown>) =>
  createHash('sha256')
    .update(JSON.stringify(body, Object.keys(body).sort()))
    .digest();

/** Told again by a retry: whatever the client did right and we could not do now is not an answer to keep. */
const isFinal = (status: number) => status < 500 && status !== 429;

/**
 * Answers a request once. Two at once with the same key both do the work, which is idempotent by its ids, and both
 * answer what was stored first; `takeBack` undoes the work whose answer is not told.
 * @throws Problem IDEMPOTENCY_KEY_REUSED when the key was used with another body
 */
export function createIdempotency(database: Pool) {
  async function takeKey(scope: string, key: string, hash: Buffer): Promise<{ before?: Answer; isRepeat: boolean }> {
    const { rows } = await database.query<StoredAnswer>({
      name: 'take-key',
      text: TAKE_KEY,
      values: [scope, key, hash],
    });
    const [stored] = rows;
    if (stored && !stored.is_same_request) {
      throw new Problem('IDEMPOTENCY_KEY_REUSED', 'Use a new key for a new request.');
    }
    if (stored?.response_status == null) return { isRepeat: stored?.is_repeat ?? false };
    const before = {
      status: stored.response_status,
      headers: { ...stored.response_headers, 'idempotency-replayed': 'true' },
      body: stored.response_body,
    };
    return { before, isRepeat: true };
  }

  return async function answerOnce(
    { scope, key, body }: KeyedRequest,
    work: (isRepeat: boolean) => Promise<Answer>,
    toAnswer: (problem: Problem) => Answer,
    takeBack: (untold: Answer) => void = () => undefined,
  ): Promise<Answer> {
    if (key === undefined) return work(false);
    const hash = hashOf(body);
    const { before, isRepeat } = await takeKey(scope, key, hash);
    if (before) return before;
    const answer = await work(isRepeat).catch((error: unknown) => {
      if (error instanceof Problem && isFinal(error.status)) return toAnswer(error);
      throw error;
    });
    const { rowCount } = await database.query({
      name: 'store-answer',
      text: STORE_ANSWER,
      values: [scope, key, answer.status, JSON.stringify(answer.headers), JSON.stringify(answer.body)],
    });
    const told = rowCount === 1 ? answer : ((await takeKey(scope, key, hash)).before ?? answer);
    if (told.headers['location'] !== answer.headers['location']) takeBack(answer);
    return told;
  };
}

export type AnswerOnce = ReturnType<typeof createIdempotency>;
