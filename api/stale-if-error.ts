/** Caches whose entries go on while their source is away: stale-if-error, as RFC 5861 calls it. */

/** Options of an LRUCache. What was asked for in vain still comes into the cache, should it arrive. */
export const STALE_IF_ERROR = {
  noDeleteOnStaleGet: true,
  noDeleteOnFetchRejection: true,
  allowStaleOnFetchRejection: true,
  allowStaleOnFetchAbort: true,
  ignoreFetchAbort: true,
} as const;

/** Where there is a stale entry, a fetch is given this long to replace it. */
export const patience = (stale: object | undefined, ms: number) =>
  stale === undefined ? {} : { signal: AbortSignal.timeout(ms) };
