import { Problem } from './problems.ts';

/** A grant is to be answered within 100 ms; most of them well within it, so that the slowest still are. */
const TARGET_MS = 45;
/** The limit is looked at again after this many holds, or this long. */
const WINDOW_HOLDS = 16;
const WINDOW_MS = 200;
const SLOW_SHARE = 0.9;
const BACK_OFF = 0.8;
const LEAST = 4;
const MOST = 256;

/** A burst waits for its turn, but not for longer than its clients do. */
const LONGEST_WAIT_MS = 2_000;
const LONGEST_QUEUE = 512;
/** A queue that was there this long and still grows is no burst. */
const BURST_MS = 500;
const SPAN_MS = 100;
/** An overload is over when nobody had to be refused for this long. */
const CALM_MS = 1_000;
const LONGEST_RETRY_SECONDS = 30;

/** How many came and how many were let in, in the span of time before this one. */
class Demand {
  arrived = 0;
  admitted = 0;
  #arriving = 0;
  #admitting = 0;
  #spanEndsAt = 0;

  count(what: 'arrival' | 'admission'): void {
    this.roll();
    if (what === 'arrival') this.#arriving++;
    else this.#admitting++;
  }

  roll(): void {
    const now = performance.now();
    if (now < this.#spanEndsAt) return;
    const isRecent = now < this.#spanEndsAt + SPAN_MS;
    [this.arrived, this.admitted] = isRecent ? [this.#arriving, this.#admitting] : [0, 0];
    [this.#arriving, this.#admitting] = [0, 0];
    this.#spanEndsAt = now + SPAN_MS;
  }

  /** Clients that come again when they were answered come as fast as they are let in, and are no overload. */
  get isRising(): boolean {
    return this.arrived > this.admitted * 1.25 + 3;
  }
}

interface Waiting {
  begin(): void;
  refuse(): void;
}

/**
 * How many holds may be under way at once: one more while they are quick and wanted, a fifth fewer when the slowest
 * tenth is slower than the target (additive increase, multiplicative decrease, as in TCP). A burst over the limit
 * waits for its turn. In an overload nobody waits: who is over the limit is told at once when to come back, which
 * costs nothing behind the API, and those admitted stay quick.
 */
export class Admission {
  #limit = 8;
  #underWay = 0;
  #mostUnderWay = 0;
  #latencies: number[] = [];
  #windowEndsAt = 0;
  readonly #queue: Waiting[] = [];
  #queueSince = 0;
  readonly #demand = new Demand();
  #refusedAt = Number.NEGATIVE_INFINITY;

  get limit(): number {
    return Math.floor(this.#limit);
  }

  get underWay(): number {
    return this.#underWay;
  }

  /**
   * Runs a hold when its turn comes.
   * @param hold is told whether it had to wait, so that what it knew before may be out of date
   * @throws Problem OVERLOADED with Retry-After when its turn does not come soon
   */
  async run<T>(hold: (waited: boolean) => Promise<T>): Promise<T> {
    this.#demand.count('arrival');
    const waits = this.#underWay >= this.limit;
    if (waits) await this.#turn();
    else this.#enter();
    const startedAt = performance.now();
    try {
      return await hold(waits);
    } finally {
      this.#underWay--;
      this.#latencies.push(performance.now() - startedAt);
      this.#adapt();
      while (this.#underWay < this.limit && this.#queue.length > 0) {
        this.#enter();
        this.#next()?.begin();
      }
    }
  }

  #enter(): void {
    this.#demand.count('admission');
    this.#underWay++;
    this.#mostUnderWay = Math.max(this.#mostUnderWay, this.#underWay);
  }

  /** The first to come is the first to go; but where ever more come, the last, so that most are answered soon. */
  #next(): Waiting | undefined {
    this.#demand.roll();
    return this.#demand.isRising ? this.#queue.pop() : this.#queue.shift();
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
    if (this.#queue.length === 0 || now - this.#queueSince < BURST_MS) return false;
    this.#demand.roll();
    return this.#demand.isRising;
  }

  #adapt(): void {
    if (this.#latencies.length < WINDOW_HOLDS && performance.now() < this.#windowEndsAt) return;
    const sorted = this.#latencies.sort((a, b) => a - b);
    const slow = sorted[Math.floor(sorted.length * SLOW_SHARE)] ?? 0;
    if (slow > TARGET_MS) this.#limit = Math.max(LEAST, this.#limit * BACK_OFF);
    else if (this.#mostUnderWay >= this.limit) this.#limit = Math.min(MOST, this.#limit + 1);
    this.#latencies = [];
    this.#mostUnderWay = this.#underWay;
    this.#windowEndsAt = performance.now() + WINDOW_MS;
  }

  /** If all who are refused come back after as many seconds as each place is wanted times, there is a place for each. */
  #refusal(): Problem {
    this.#refusedAt = performance.now();
    const timesWanted = this.#demand.arrived / Math.max(1, this.#demand.admitted);
    const seconds = Math.min(LONGEST_RETRY_SECONDS, Math.max(1, Math.ceil(timesWanted)));
    const detail = 'More buyers are here than can be served at once. Retry with the same Idempotency-Key.';
    return new Problem('OVERLOADED', detail, {}, { 'retry-after': String(seconds) });
  }
}
