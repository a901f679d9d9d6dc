import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { brotliCompress, brotliDecompress, constants, gzip } from 'node:zlib';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import type { Event } from '../domain/model.ts';
import { eventMap } from '../domain/redis-keys.ts';
import type { Queries } from './queries.ts';

export type Encoding = 'br' | 'gzip' | 'identity';

/** A seat map as it is sent, in each encoding. */
export interface SeatMap {
  tag: string;
  read_at_ms: number;
  bodies: Record<Encoding, Buffer>;
}

/** How old a map may be: in Redis, in memory and in a shared cache together. */
export const SEAT_MAP_TTL_MS = 5_000;
/** Of all maps in memory, all encodings together. */
const MAX_BYTES = 128 * 1024 * 1024;

const compress = {
  br: promisify(brotliCompress),
  gzip: promisify(gzip),
  unbr: promisify(brotliDecompress),
};

const sizeOf = ({ bodies }: SeatMap) => Object.values(bodies).reduce((bytes, body) => bytes + body.length, 1);

/** A map that is fresh in memory or Redis is not asked of PostgreSQL; one that is not is read once for all who wait. */
export function createSeatMaps(redis: Redis, queries: Queries) {
  const inMemory = new LRUCache<string, SeatMap, { event: Event; showTime: string | undefined }>({
    maxSize: MAX_BYTES,
    sizeCalculation: sizeOf,
    fetchMethod: async (key, _stale, { options, context: { event, showTime } }) => {
      const map = (await readCached(redis, key)) ?? (await build(event, showTime));
      options.ttl = Math.max(1, map.read_at_ms + SEAT_MAP_TTL_MS - Date.now());
      return map;
    },
  });

  async function build(event: Event, showTime: string | undefined): Promise<SeatMap> {
    const readAt = Date.now();
    const seats = await queries.getSeats(event, showTime);
    const identity = Buffer.from(JSON.stringify(seats));
    const [br, gz] = await Promise.all([
      compress.br(identity, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }),
      compress.gzip(identity),
    ]);
    const tag = createHash('sha256').update(identity).digest('base64url').slice(0, 22);
    const map = { tag, read_at_ms: readAt, bodies: { br, gzip: gz, identity } };
    await writeCached(redis, eventMap(event.event_id, showTime), map);
    return map;
  }

  return {
    /** @param showTime undefined where the event has one show */
    async get(event: Event, showTime: string | undefined): Promise<SeatMap> {
      const map = await inMemory.fetch(eventMap(event.event_id, showTime), { context: { event, showTime } });
      if (!map) throw new Error('a seat map is always built');
      return map;
    },
  };
}

export type SeatMaps = ReturnType<typeof createSeatMaps>;

/** The map in Redis, which keeps the compressed forms only; none while Redis is away. */
async function readCached(redis: Redis, key: string): Promise<SeatMap | undefined> {
  const { tag, read_at_ms, br, gzip: gz } = await redis.hgetallBuffer(key).catch((): Record<string, Buffer> => ({}));
  if (!tag || !read_at_ms || !br || !gz) return undefined;
  return {
    tag: tag.toString(),
    read_at_ms: Number(read_at_ms.toString()),
    bodies: { br, gzip: gz, identity: await compress.unbr(br) },
  };
}

async function writeCached(redis: Redis, key: string, { tag, read_at_ms, bodies }: SeatMap): Promise<void> {
  await redis
    .multi()
    .hset(key, { tag, read_at_ms, br: bodies.br, gzip: bodies.gzip })
    .pexpire(key, SEAT_MAP_TTL_MS)
    .exec()
    .catch(() => undefined);
}
