import { LRUCache } from 'lru-cache';
import type { Event } from '../domain/model.ts';
import type { Queries } from './queries.ts';
import { createLayout, type SeatLayout } from './seat-layout.ts';
import { STALE_IF_ERROR, patience } from './stale-if-error.ts';

/** An event and how its seats are laid out; what changes during a sale (a seat's status) is not in it. */
export interface CatalogEntry {
  event: Event;
  /** Another one, that no event had before, when a seat is added, moved, priced anew or removed. */
  layout_version: number;
  /** Seat id to its show, undefined where the event has one show. */
  seats: ReadonlyMap<string, string | undefined>;
  /** By show; the one of an event with one show under undefined. */
  layouts: ReadonlyMap<string | undefined, SeatLayout>;
}

/** About 400 bytes each: 200 MB. */
const MAX_SEATS_CACHED = 500_000;
const FRESH_MS = 5_000;
/** What is known of an event goes on when PostgreSQL does not answer within this. */
const PATIENCE_MS = 300;
const EVENTS_WARMED = 5;

/** Events in memory, so that a hot sale asks PostgreSQL for none, but for whether they are still the same. */
export function createCatalog(queries: Queries) {
  const entries = new LRUCache<string, CatalogEntry>({
    maxSize: MAX_SEATS_CACHED,
    sizeCalculation: ({ seats }) => seats.size + 1,
    ...STALE_IF_ERROR, // what is stale may well be found to be the same
    ttl: FRESH_MS,
    fetchMethod: async (eventId, before) => {
      const found = await queries.getEventWithVersion(eventId);
      if (!found) return undefined;
      return before?.layout_version === found.layout_version ? { ...before, ...found } : read(found);
    },
  });

  async function read(found: Pick<CatalogEntry, 'event' | 'layout_version'>): Promise<CatalogEntry> {
    const seats = await queries.getPlacedSeats(found.event);
    const shows = found.event.show_times.length > 1 ? found.event.show_times : [undefined];
    const ofShow = (show: string | undefined) =>
      seats.filter(({ show_time }) => show === undefined || show_time === show);
    return {
      ...found,
      seats: new Map(seats.map(({ seat, show_time }) => [seat.seat_id, show_time])),
      layouts: new Map(shows.map((show) => [show, createLayout(ofShow(show).map(({ seat }) => seat))])),
    };
  }

  return {
    get: async (eventId: string): Promise<CatalogEntry | undefined> =>
      entries.get(eventId) ?? entries.fetch(eventId, patience(entries, eventId, PATIENCE_MS)),

    /** Reads the events that come next, so that a process which starts in a sale is as quick as one that runs. */
    async warmUp(): Promise<void> {
      const next = { from: new Date(), to: undefined, text: undefined, after: undefined, limit: EVENTS_WARMED };
      for (const { event_id } of await queries.findEvents(next)) await entries.fetch(event_id);
    },

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
