import { setTimeout as delay } from 'node:timers/promises';
import { Redis, ReplyError } from 'ioredis';
import type { SeatChange } from '../domain/model.ts';
import { SEAT_CHANGES_GAP, SEAT_CHANGES_KEPT, seatChanges } from '../domain/redis-keys.ts';
import type { Logger } from '../runtime/logger.ts';

/**
 * A change and its place: `<milliseconds>-<number>` in the event's stream, and the run of Redis that has the stream. A
 * Redis that dies may lose its last second, so what follows an id of an earlier run is not known.
 */
export interface NumberedChange {
  id: string;
  change: SeatChange;
}

/** How changes are told: viewers with the same key are sent the same bytes, which are made once. */
export interface Telling {
  key: string;
  toText: (changes: NumberedChange[]) => string;
}

/** Some changes in order, as told to many. */
export class Batch {
  readonly #bytes = new Map<string, Buffer>();

  constructor(readonly changes: NumberedChange[]) {}

  bytes({ key, toText }: Telling): Buffer {
    const bytes = this.#bytes.get(key) ?? Buffer.from(toText(this.changes));
    this.#bytes.set(key, bytes);
    return bytes;
  }
}

/** Who is told of changes. Neither call waits. */
export interface Viewer {
  changes(batch: Batch): void;
  /** Some changes cannot be told any more: read the map again, then go on from `id`. */
  reset(id: string): void;
}

/** Changes are gathered this long, so that a thousand viewers cost a thousand writes five times a second at most. */
const GATHER_MS = 200;
const BLOCK_MS = 5_000;
/** A connection on which nothing comes for so long is dead: another one is made. */
const SILENCE_MS = BLOCK_MS + 1_000;
const RETRY_MS = 500;
const BATCH = 1_000;
const START = '0-0';

/** Order of stream ids. */
export function compareIds(a: string, b: string): number {
  const [aMs = 0, aNumber = 0] = a.split('-').map(Number);
  const [bMs = 0, bNumber = 0] = b.split('-').map(Number);
  return aMs - bMs || aNumber - bNumber;
}

/** Where a viewer is: the id of the last change that he knows of, and the layout of the map that he has. */
export const positionIn = ({ layout_version }: { layout_version: number }, id: string) => `${id}-${layout_version}`;

/** Not a number where a position names none. */
export const layoutVersionOf = (position: string | undefined) => Number(position?.split('-')[3]);

type Entry = [place: string, fields: string[]];

const isGap = ([, fields]: Entry) => fields[0] === SEAT_CHANGES_GAP;

const idOf = (place: string, run: string) => `${place}-${run}`;

const toChange = ([place, fields]: Entry, run: string): NumberedChange => {
  const seat_id = fields[fields.indexOf('seat_id') + 1] ?? '';
  const status = fields[fields.indexOf('status') + 1];
  const change: SeatChange = { seat_id, status: status === 'HELD' || status === 'BOOKED' ? status : 'AVAILABLE' };
  return { id: idOf(place, run), change };
};

/** Where Redis does not say which run it is. */
const SOME_RUN = '00000000';

/** Which run of Redis answers on this connection. */
async function runOf(redis: Redis): Promise<string> {
  const info = await redis.info('server').catch((error: unknown) => {
    if (error instanceof ReplyError) return ''; // a user may be kept from asking
    throw error;
  });
  return /^run_id:([0-9a-f]{8})/m.exec(info)?.[1] ?? SOME_RUN;
}

/** The end of an event's stream, and the run of Redis that says so. */
async function findEnd(redis: Redis, key: string): Promise<{ place: string; run: string }> {
  const [run, last] = await Promise.all([runOf(redis), redis.xrevrange(key, '+', '-', 'COUNT', 1)]);
  return { place: last[0]?.[0] ?? START, run };
}

/** One event's changes, read once for all its viewers in this process. */
class Follower {
  readonly viewers = new Set<Viewer>();
  /** Resolves once `position` is known. */
  readonly ready: Promise<void>;
  #end = { place: START, run: '' };
  #isLost = false;
  readonly #key: string;
  readonly #redis: Redis;
  #closed = false;

  constructor(redisUrl: string, eventId: string, log: Logger) {
    this.#key = seatChanges(eventId);
    this.#redis = new Redis(redisUrl, {
      maxRetriesPerRequest: 0, // whatever is under way when a connection is lost fails; else it would never be answered
      autoResendUnfulfilledCommands: false,
      socketTimeout: SILENCE_MS,
      retryStrategy: () => RETRY_MS,
    });
    this.#redis.on('error', (error) => log.warn({ err: error }, 'seat changes are not followed while Redis is away'));
    this.#redis.on('close', () => (this.#isLost = true));
    this.ready = this.#skipToEnd();
    void this.#follow();
  }

  get position(): string {
    return idOf(this.#end.place, this.#end.run);
  }

  close(): void {
    this.#closed = true;
    this.#redis.disconnect();
  }

  async #follow(): Promise<void> {
    await this.ready;
    while (!this.#closed) {
      const read = this.#isLost ? undefined : await this.#read().catch(() => undefined);
      if (read === undefined) await this.#startAnew();
      else this.#tell(read?.[0]?.[1] ?? []);
      await delay(GATHER_MS);
    }
  }

  #read() {
    return this.#redis.xread('COUNT', BATCH, 'BLOCK', BLOCK_MS, 'STREAMS', this.#key, this.#end.place);
  }

  /** While Redis was away changes were made that nobody announced. */
  async #startAnew(): Promise<void> {
    await this.#skipToEnd();
    this.#reset();
  }

  #reset(): void {
    for (const viewer of this.viewers) viewer.reset(this.position);
  }

  async #skipToEnd(): Promise<void> {
    while (!this.#closed) {
      this.#isLost = false;
      const end = await findEnd(this.#redis, this.#key).catch(() => undefined);
      if (end) return void (this.#end = end);
      await delay(RETRY_MS);
    }
  }

  #tell(entries: Entry[]): void {
    const last = entries.at(-1);
    if (!last) return;
    [this.#end.place] = last;
    if (entries.some(isGap)) return this.#reset();
    const batch = new Batch(entries.map((entry) => toChange(entry, this.#end.run)));
    for (const viewer of this.viewers) viewer.changes(batch);
  }
}

/** The live changes of seats, kept in a Redis stream for each event, told to the viewers of this process. */
export function createSeatStream(redisUrl: string, redis: Redis, log: Logger) {
  const followers = new Map<string, Follower>();

  return {
    /** Tells a viewer from now on, until it stops; `now` resolves with the id that this has, once Redis says it. */
    watch(eventId: string, viewer: Viewer): { now: Promise<string>; stop: () => void } {
      const follower = followers.get(eventId) ?? new Follower(redisUrl, eventId, log);
      followers.set(eventId, follower);
      follower.viewers.add(viewer);
      return {
        now: follower.ready.then(() => follower.position),
        stop: () => {
          if (!follower.viewers.delete(viewer) || follower.viewers.size > 0) return;
          follower.close();
          followers.delete(eventId);
        },
      };
    },

    /** The id of the last change; the first of all while Redis is away. */
    async position(eventId: string): Promise<string> {
      const end = await findEnd(redis, seatChanges(eventId)).catch(() => undefined);
      return end ? idOf(end.place, end.run) : START;
    },

    /** The changes after `id`; undefined where some of them are no longer kept, may be lost, or were never told. */
    async changesAfter(eventId: string, id: string): Promise<NumberedChange[] | undefined> {
      const key = seatChanges(eventId);
      const [ms, number, runOfId] = id.split('-');
      // Answered in this order: what was still kept last was so when the changes were read.
      const [{ place, run }, kept, oldest] = await Promise.all([
        findEnd(redis, key),
        redis.xrange(key, `(${ms}-${number}`, '+', 'COUNT', SEAT_CHANGES_KEPT * 2),
        redis.xrange(key, '-', '+', 'COUNT', 1),
      ]);
      const isKept = compareIds(oldest[0]?.[0] ?? START, id) <= 0 && compareIds(id, place) <= 0;
      return isKept && runOfId === run && !kept.some(isGap) ? kept.map((entry) => toChange(entry, run)) : undefined;
    },

    close(): void {
      for (const follower of followers.values()) follower.close();
    },
  };
}

export type SeatStream = ReturnType<typeof createSeatStream>;
