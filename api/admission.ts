import type { SeatLocks } from '../activities/seat-locks.ts';
import { Problem } from './problems.ts';

/** A grant is to be answered within 100 ms; most of them well within it, so that the slowest still are. */
const TARGET_MS = 25;
/** Where even the quickest takes long, since a service is far away, slow is what takes so many times as long. */
const SLOW_TIMES = 2;
/** By so much the quickest rises each time that the limit is looked at, lest it be remembered for ever. */
const FORGETTING = 1.002;
/** The limit is looked at again after this many holds, or this long. */
const WINDOW_HOLDS = 16;
const WINDOW_MS = 200;
const SLOW_SHARE = 0.9;
const BACK_OFF = 0.8;
/** Of a whole one: then a place rests three times as long as its hold took, up to the longest rest. */
const LEAST = 0.25;
const LONGEST_REST_MS = 200;
const MOST = 256;
/** Of the limit, while Redis is away: then a refusal costs a workflow and two statements too. */
const SHARE_WITHOUT_FILTER = 0.5;

/** A burst waits for its turn, but not for longer than its clients do. */
const LONGEST_WAIT_MS = 2_000;
const LONGEST_QUEUE = 512;
/** A queue that was there this long and still grows is no burst; one that grows slowly has to be there three times as long. */
const BURST_MS = 200;
const SPAN_MS = 100;
const SPANS = 5;
/** An overload is over when nobody had to be refused for this long. */
const CALM_MS = 1_000;
const LONGEST_RETRY_SECONDS = 30;

interface Span {
  arrived: number;
  admitted: number;
}

/** How many came and how many were let in, in the last spans of time. */
class Demand {
  #spans: Span[] = [];
  #current: Span = { arrived: 0, admitted: 0 };
  #spanEndsAt = 0;

  count(what: keyof Span): void {
    this.#roll();
    this.#current[what]++;
  }

  /** Over the last spans together. */
  last(spans: number): Span {
    this.#roll();
    return this.#spans
      .slice(-spans)
      .reduce((sum, { arrived, admitted }) => ({ arrived: sum.arrived + arrived, admitted: sum.admitted + admitted }), {
        arrived: 0,
        admitted: 0,
      });
  }

  #roll(): void {
    const now = performance.now();
    if (now < this.#spanEndsAt) return;
    const nobodyCame = now >= this.#spanEndsAt + SPAN_MS;
    this.#spans = nobodyCame ? [] : [...this.#spans, this.#current].slice(-SPANS);
    this.#current = { arrived: 0, admitted: 0 };
    this.#spanEndsAt = now + SPAN_MS;
  }
}

/** Clients that come again when they were answered come as fast as they are let in: that is not too many. */
const isTooMany = ({ arrived, admitted }: Span, tolerance: number) => arrived > admitted * tolerance + 3;

interface Waiting {
  begin(): void;
  refuse(): void;
}

/**
 * How many holds may be under way at once: one more while they are quick, a fifth fewer when the slowest tenth is slower
 * than the target, or than twice the quickest (additive increase, multiplicative decrease, as in TCP); where fewer are
 * wanted, they say nothing of the limit.
 * A burst over the limit waits for its turn. In an overload nobody waits: who is over the limit is told at once when to
 * come back, which costs nothing behind the API, and those admitted stay quick. Where even one hold at a time is slow,
 * since others want the processor too, its place rests before the next. Without the filter in Redis half as many are
 * let in.
 */
export class Admission {
  readonly #filter: Pick<SeatLocks, 'isAway'>;
  #limit = 2;
  /** The limit while Redis was last there. */
  #usual = 2;
  #underWay = 0;
  #mostUnderWay = 0;
  #latencies: number[] = [];
  #quickestMs = Infinity;
  #windowEndsAt = 0;
  readonly #queue: Waiting[] = [];
  #queueSince = 0;
  readonly #demand = new Demand();
  #refusedAt = Number.NEGATIVE_INFINITY;

  constructor(filter: Pick<SeatLocks, 'isAway'>) {
    this.#filter = filter;
  }

  get limit(): number {
    return Math.max(1, Math.floor(this.#share));
  }

  /** Below one it is the part of the time in which a hold may be under way. */
  get #share(): number {
    return this.#filter.isAway ? this.#limit * SHARE_WITHOUT_FILTER : this.#limit;
  }

  get underWay(): number {
    return this.#underWay;
  }

  /**
   * Runs a hold when its turn comes. How quick one is, only those that are granted say; how slow, all that take long.
   * @param hold is told whether it had to wait, so that what it knew before may be out of date
   * @throws Problem OVERLOADED with Retry-After when its turn does not come soon
   */
  async run<T extends { status: string }>(hold: (waited: boolean) => Promise<T>): Promise<T> {
    this.#demand.count('arrived');
    const waits = this.#underWay >= this.limit;
    if (waits) await this.#turn();
    else this.#enter();
    const startedAt = performance.now();
    let isGranted = false;
    try {
      const reserved = await hold(waits);
      isGranted = reserved.status === 'HELD';
      return reserved;
    } finally {
      const tookMs = performance.now() - startedAt;
      if (isGranted) this.#quickestMs = Math.min(tookMs, this.#quickestMs);
      if (isGranted || tookMs > TARGET_MS) this.#latencies.push(tookMs);
      this.#adapt();
      const restMs = this.#isOverloaded() ? tookMs * (1 / this.#share - 1) : 0;
      if (restMs > 0) setTimeout(() => this.#leave(), Math.min(restMs, LONGEST_REST_MS));
      else this.#leave();
    }
  }

  #leave(): void {
    this.#underWay--;
    while (this.#underWay < this.limit && this.#queue.length > 0) {
      this.#enter();
      this.#next()?.begin();
    }
  }

  #enter(): void {
    this.#demand.count('admitted');
    this.#underWay++;
    this.#mostUnderWay = Math.max(this.#mostUnderWay, this.#underWay);
  }

  /** The first to come is the first to go; but where ever more come, the last, so that most are answered soon. */
  #next(): Waiting | undefined {
    return isTooMany(this.#demand.last(1), 1.25) ? this.#queue.pop() : this.#queue.shift();
  }

  /** Resolves when a place was taken for this hold. */
  async #turn(): Promise<void> {
    if (this.#isOverloaded()) {
      for (const waiting of this.#queue.splice(0)) waiting.refuse();
      throw this.#refusal();
    }
    if (this.#queue.length >= LONGEST_QUEUE) throw this.#refusal();
    if (this.#queue.length === 0) this.#queueSince = performance.now();
    await new Promise<void>((resolve, reject) => {
      const waiting: Waiting = {
        begin: () => {
          clearTimeout(deadline);
          resolve();
        },
        refuse: () => {
          clearTimeout(deadline);
          reject(this.#refusal());
        },
      };
      const deadline = setTimeout(() => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1);
        waiting.refuse();
      }, LONGEST_WAIT_MS);
      this.#queue.push(waiting);
    });
  }

  #isOverloaded(): boolean {
    const now = performance.now();
    if (now - this.#refusedAt < CALM_MS) return true;
    if (this.#queue.length === 0) return false;
    const queuedMs = now - this.#queueSince;
    return (
      (queuedMs > BURST_MS && isTooMany(this.#demand.last(1), 1.25)) ||
      (queuedMs > 3 * BURST_MS && isTooMany(this.#demand.last(SPANS), 1.1))
    );
  }

  #adapt(): void {
    if (this.#latencies.length < WINDOW_HOLDS && performance.now() < this.#windowEndsAt) return;
    const sorted = this.#latencies.sort((a, b) => a - b);
    const slow = sorted[Math.floor(sorted.length * SLOW_SHARE)];
    if (slow === undefined) return;
    if (this.#mostUnderWay >= this.limit) {
      this.#limit =
        slow > Math.max(TARGET_MS, this.#quickestMs * SLOW_TIMES)
          ? Math.max(LEAST, this.#limit * BACK_OFF)
          : Math.min(this.#filter.isAway ? this.#usual : MOST, this.#limit + Math.min(1, this.#limit));
    }
    if (!this.#filter.isAway) this.#usual = this.#limit;
    this.#quickestMs *= FORGETTING;
    this.#latencies = [];
    this.#mostUnderWay = this.#underWay;
    this.#windowEndsAt = performance.now() + WINDOW_MS;
  }

  /** If all who are refused come back after as many seconds as each place is wanted times, there is a place for each. */
  #refusal(): Problem {
    this.#refusedAt = performance.now();
    const { arrived, admitted } = this.#demand.last(SPANS);
    const timesWanted = arrived / Math.max(1, admitted);
    const seconds = Math.min(LONGEST_RETRY_SECONDS, Math.max(1, Math.ceil(timesWanted)));
    const detail = 'More buyers are here than can be served at once. Retry with the same Idempotency-Key.';
    return new Problem('OVERLOADED', detail, {}, { 'retry-after': String(seconds) });
  }
}
