/** Caches whose entries go on while their source is away: stale-if-error, as RFC 5861 calls it. */

/** Options of an LRUCache. What was asked for in vain still comes into the cache, should it arrive. */
export const STALE_IF_ERROR = {
  noDeleteOnStaleGet: true,
  noDeleteOnFetchRejection: true,
  allowStaleOnFetchRejection: true,
  allowStaleOnFetchAbort: true,
  ignoreFetchAbort: true,
} as const;

interface Cache {
  peek(key: string, options: { allowStale: true }): unknown;
}

/**
 * Options of a fetch: where there is a stale entry, it has this long to replace it. Where there is none, it rejects with
 * what went wrong: by itself the cache would answer undefined, as if there were no such thing.
 */
export const patience = (cache: Cache, key: string, ms: number) =>
  cache.peek(key, { allowStale: true }) === undefined
    ? { allowStaleOnFetchRejection: false }
    : { signal: AbortSignal.timeout(ms) };
