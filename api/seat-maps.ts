import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { eventMap } from '../domain/redis-keys.ts';
import type { CatalogEntry } from './catalog.ts';
import type { Queries } from './queries.ts';
import type { PackedStatuses, SeatLayout } from './seat-layout.ts';
import type { SeatStream } from './seat-stream.ts';
import { STALE_IF_ERROR, patience } from './stale-if-error.ts';

export type Encoding = 'br' | 'gzip' | 'identity';

/** A body in each encoding. */
export type Encoded = Record<Encoding, Buffer>;

/** A seat map as it is sent. */
export interface SeatMap {
  /** The same for the same layout and statuses. */
  tag: string;
  layout: SeatLayout;
  /** Where the live changes go on. */
  position: string;
  read_at_ms: number;
  /** The contract's array. */
  full: Encoded;
  /** Two bits a seat: see {@link PackedStatuses}. */
  compact: Encoded;
}

/** How old a map may be: in Redis, in memory and in a shared cache together. */
export const SEAT_MAP_TTL_MS = 5_000;
/** From this age on, a map that is read is made anew while it serves: its readers never wait. */
const REFRESH_MS = 3_500;
/** An older one goes on when PostgreSQL does not answer within this. */
const PATIENCE_MS = 1_000;
/** Of all maps in memory, all encodings together. */
const MAX_BYTES = 128 * 1024 * 1024;

const brotli = promisify(brotliCompress);
const gzipped = promisify(gzip);

/** Compressed once, on a thread of its own; sent thousands of times. */
export async function encode(identity: Buffer): Promise<Encoded> {
  const [br, gz] = await Promise.all([
    brotli(identity, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }),
    gzipped(identity),
  ]);
  return { identity, br, gzip: gz };
}

const sizeOf = ({ full, compact }: SeatMap) =>
  [...Object.values(full), ...Object.values(compact)].reduce((bytes, body) => bytes + body.length, 0);

const tagOf = (layout: SeatLayout, statuses: PackedStatuses) =>
  createHash('sha256').update(layout.id).update(statuses).digest('base64url').slice(0, 22);

interface Show {
  entry: CatalogEntry;
  showTime: string | undefined;
  layout: SeatLayout;
}

/** A map that is fresh in memory or Redis is not asked of PostgreSQL; one that is not is read once for all who wait. */
export function createSeatMaps(redis: Redis, queries: Queries, stream: SeatStream) {
  const inMemory = new LRUCache<string, SeatMap, Show>({
    maxSize: MAX_BYTES,
    sizeCalculation: sizeOf,
    ...STALE_IF_ERROR,
    fetchMethod: async (key, before, { options, context }) => {
      const map = (await readCached(redis, key, context.layout, before)) ?? (await build(key, context, before));
      options.ttl = Math.max(1, map.read_at_ms + SEAT_MAP_TTL_MS - Date.now());
      return map;
    },
  });

  /** Reads who has the seats, and makes the map of it. */
  async function build(key: string, { entry, showTime, layout }: Show, before: SeatMap | undefined): Promise<SeatMap> {
    const read_at_ms = Date.now();
    const position = await stream.position(entry.event.event_id);
    const statuses = layout.pack(await queries.getTakenSeats(entry.event.event_id, showTime));
    const tag = tagOf(layout, statuses);
    const bodies = bodiesOf(before, tag) ?? {
      full: await encode(layout.render(statuses)),
      compact: await encode(statuses),
    };
    const map = { tag, layout, position, read_at_ms, ...bodies };
    await writeCached(redis, key, map);
    return map;
  }

  return {
    /** @param showTime undefined where the event has one show */
    async get(entry: CatalogEntry, showTime: string | undefined): Promise<SeatMap> {
      const layout = entry.layouts.get(showTime);
      if (!layout) throw new Error('every show has a layout');
      const key = eventMap(entry.event.event_id, showTime);
      const context = { entry, showTime, layout };
      const map = inMemory.get(key);
      if (map?.layout.id !== layout.id) {
        return inMemory.forceFetch(key, { context, forceRefresh: true, ...patience(inMemory, key, PATIENCE_MS) });
      }
      if (Date.now() - map.read_at_ms > REFRESH_MS) void inMemory.fetch(key, { context, forceRefresh: true });
      return map;
    },
  };
}

export type SeatMaps = ReturnType<typeof createSeatMaps>;

/** A stadium's take a while to make: those of the map before serve on where nothing has changed. */
const bodiesOf = (before: SeatMap | undefined, tag: string) =>
  before?.tag === tag ? { full: before.full, compact: before.compact } : undefined;

/** The map in Redis, where it is of this layout and newer than the one before; none while Redis is away. */
async function readCached(
  redis: Redis,
  key: string,
  layout: SeatLayout,
  before: SeatMap | undefined,
): Promise<SeatMap | undefined> {
  const cached = await redis.hgetallBuffer(key).catch((): Record<string, Buffer> => ({}));
  const { tag, layout_id, position, read_at_ms, statuses, full_br, full_gzip, compact_br, compact_gzip } = cached;
  if (!tag || !position || !read_at_ms || !statuses || !full_br || !full_gzip || !compact_br || !compact_gzip) {
    return undefined;
  }
  if (layout_id?.toString() !== layout.id || Number(read_at_ms.toString()) <= (before?.read_at_ms ?? 0))
    return undefined;
  const bodies = bodiesOf(before, tag.toString()) ?? {
    full: { identity: layout.render(statuses), br: full_br, gzip: full_gzip },
    compact: { identity: statuses, br: compact_br, gzip: compact_gzip },
  };
  return {
    tag: tag.toString(),
    layout,
    position: position.toString(),
    read_at_ms: Number(read_at_ms.toString()),
    ...bodies,
  };
}

/** The uncompressed array is not kept: it follows from the statuses. */
async function writeCached(redis: Redis, key: string, map: SeatMap): Promise<void> {
  const { tag, layout, position, read_at_ms, full, compact } = map;
  const fields = {
    tag,
    layout_id: layout.id,
    position,
    read_at_ms,
    statuses: compact.identity,
    full_br: full.br,
    full_gzip: full.gzip,
    compact_br: compact.br,
    compact_gzip: compact.gzip,
  };
  await redis
    .multi()
    .hset(key, fields)
    .pexpire(key, map.read_at_ms + SEAT_MAP_TTL_MS - Date.now())
    .exec()
    .catch(() => undefined);
}
