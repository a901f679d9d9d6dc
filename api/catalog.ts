import { LRUCache } from 'lru-cache';
import type { Event } from '../domain/model.ts';
import type { Queries } from './queries.ts';

/** An event and which seats it has; what may change during a sale (a seat's status) is not in it. */
export interface CatalogEntry {
  event: Event;
  /** Seat id to its show, undefined where the event has one show. */
  seats: ReadonlyMap<string, string | undefined>;
}

/** About 100 bytes each: 200 MB. */
const MAX_SEATS_CACHED = 2_000_000;
const FRESH_MS = 60_000;

/** Events in memory, so that a hot sale asks PostgreSQL for none. */
export function createCatalog(queries: Queries) {
  const entries = new LRUCache<string, CatalogEntry>({
    maxSize: MAX_SEATS_CACHED,
    sizeCalculation: ({ seats }) => seats.size + 1,
    ttl: FRESH_MS,
    fetchMethod: async (eventId) => {
      const event = await queries.getEvent(eventId);
      if (!event) return undefined;
      const seats = await queries.getSeatIds(eventId);
      return {
        event,
        seats: new Map(seats.map(({ seat_id, show_time }) => [seat_id, show_time])),
      };
    },
  });

  return {
    get: (eventId: string): Promise<CatalogEntry | undefined> => entries.fetch(eventId),

    /** Those of the seats that the event does not have; one that was added since its entry was read, it has. */
    async getForeignSeats(entry: CatalogEntry, seatIds: string[]): Promise<string[]> {
      const unknown = seatIds.filter((seatId) => !entry.seats.has(seatId));
      if (unknown.length === 0) return [];
      const added = new Set(await queries.findSeats(entry.event.event_id, unknown));
      return unknown.filter((seatId) => !added.has(seatId));
    },
  };
}

export type Catalog = ReturnType<typeof createCatalog>;
