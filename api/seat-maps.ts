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

type Format = 'full' | 'compact';
export type Encoding = 'br' | 'gzip' | 'identity';

/** Who has the seats of a show, and what that is told of. */
export interface SeatMap {
  /** The same for the same layout and statuses. */
  tag: string;
  layout: SeatLayout;
  statuses: PackedStatuses;
  /** Where the live changes go on. */
  position: string;
  read_at_ms: number;
}

/** How old a map may be: in Redis, in memory and in a shared cache together. */
export const SEAT_MAP_TTL_MS = 5_000;
/** From this age on, a map that is read is made anew while it serves: its readers never wait. */
const REFRESH_MS = 3_500;
/** An older one goes on when PostgreSQL does not answer within this. */
const PATIENCE_MS = 1_000;
/** Of all maps in memory, with their layouts, about 400 bytes each. */
const MAX_SEATS = 500_000;
/** Of all bodies in memory. */
const MAX_BODY_BYTES = 128 * 1024 * 1024;
/** A body that nobody asked for in this time goes, and is not made again with the next map. */
const BODY_TTL_MS = 2_000;

const brotli = promisify(brotliCompress);
const gzipped = promisify(gzip);

/** Compressed once, on a thread of its own; sent thousands of times. */
export async function encode(identity: Buffer, encoding: Encoding): Promise<Buffer> {
  if (encoding === 'identity') return identity;
  if (encoding === 'gzip') return gzipped(identity);
  return brotli(identity, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
}

const tagOf = (layout: SeatLayout, statuses: PackedStatuses) =>
  createHash('sha256').update(layout.id).update(statuses).digest('base64url').slice(0, 22);

interface Show {
  entry: CatalogEntry;
  showTime: string | undefined;
  layout: SeatLayout;
}

interface Body {
  map: SeatMap;
  format: Format;
  encoding: Encoding;
}

const FORMATS: Format[] = ['full', 'compact'];
const ENCODINGS: Encoding[] = ['br', 'gzip', 'identity'];
const bodiesOf = (map: SeatMap): Body[] =>
  FORMATS.flatMap((format) => ENCODINGS.map((encoding) => ({ map, format, encoding })));

const bodyKey = ({ map, format, encoding }: Body) => `${map.tag} ${format} ${encoding}`;

/** A map that is fresh in memory or Redis is not asked of PostgreSQL; one that is not is read once for all who wait. */
export function createSeatMaps(redis: Redis, queries: Queries, stream: SeatStream) {
  const maps = new LRUCache<string, SeatMap, Show>({
    maxSize: MAX_SEATS,
    sizeCalculation: ({ layout }) => layout.indexOf.size + 1,
    ...STALE_IF_ERROR,
    fetchMethod: async (key, before, { options, context }) => {
      const map = (await readCached(redis, key, context.layout, before)) ?? (await build(key, context));
      if (before) await takeOver(before, map);
      options.ttl = Math.max(1, map.read_at_ms + SEAT_MAP_TTL_MS - Date.now());
      return map;
    },
  });

  const bodies = new LRUCache<string, Buffer, Body>({
    maxSize: MAX_BODY_BYTES,
    sizeCalculation: (body) => body.length + 1,
    ttl: BODY_TTL_MS,
    updateAgeOnGet: true,
    ttlAutopurge: true,
    ignoreFetchAbort: true, // who waits for one that is put out of memory meanwhile gets it all the same
    fetchMethod: (_key, _before, { context: { map, format, encoding } }) =>
      encode(format === 'full' ? map.layout.render(map.statuses) : map.statuses, encoding),
  });

  /** As it is sent: the contract's array in full, or compact, two bits a seat. */
  const bodyOf = (body: Body): Promise<Buffer> => bodies.forceFetch(bodyKey(body), { context: body });

  /** Makes the bodies that are asked for now, so that nobody waits for them when the next map takes its place. */
  async function takeOver(before: SeatMap, map: SeatMap): Promise<void> {
    const inUse = bodiesOf(before).filter((body) => bodies.has(bodyKey(body)));
    await Promise.allSettled(inUse.map((body) => bodyOf({ ...body, map })));
  }

  /** Reads who has the seats. */
  async function build(key: string, { entry, showTime, layout }: Show): Promise<SeatMap> {
    const read_at_ms = Date.now();
    const position = await stream.position(entry.event.event_id);
    const statuses = layout.pack(await queries.getTakenSeats(entry.event.event_id, showTime));
    const map = { tag: tagOf(layout, statuses), layout, statuses, position, read_at_ms };
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
      const map = maps.get(key);
      const refresh = () => maps.forceFetch(key, { context, forceRefresh: true, ...patience(maps, key, PATIENCE_MS) });
      if (map?.layout.id !== layout.id) return refresh();
      // With a deadline all the same: who comes once this map is stale waits for the refresh that is under way.
      if (Date.now() - map.read_at_ms > REFRESH_MS) refresh().catch(() => undefined);
      return map;
    },

    bodyOf,
  };
}

export type SeatMaps = ReturnType<typeof createSeatMaps>;

/** The map in Redis, where it is of this layout and newer than the one before; none while Redis is away. */
async function readCached(
  redis: Redis,
  key: string,
  layout: SeatLayout,
  before: SeatMap | undefined,
): Promise<SeatMap | undefined> {
  const cached = await redis.hgetallBuffer(key).catch((): Record<string, Buffer> => ({}));
  const { tag, layout_id, position, read_at_ms, statuses } = cached;
  if (!tag || !position || !read_at_ms || !statuses || layout_id?.toString() !== layout.id) return undefined;
  const map = {
    tag: tag.toString(),
    layout,
    statuses,
    position: position.toString(),
    read_at_ms: Number(read_at_ms.toString()),
  };
  return map.read_at_ms > (before?.read_at_ms ?? 0) ? map : undefined;
}

async function writeCached(
  redis: Redis,
  key: string,
  { tag, layout, statuses, position, read_at_ms }: SeatMap,
): Promise<void> {
  await redis
    .multi()
    .del(key) // another version may have kept more in it, which is not of this map
    .hset(key, { tag, layout_id: layout.id, position, read_at_ms, statuses })
    .pexpire(key, read_at_ms + SEAT_MAP_TTL_MS - Date.now())
    .exec()
    .catch(() => undefined);
}
