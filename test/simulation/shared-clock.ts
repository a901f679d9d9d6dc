/**
 * One clock for all sequences that run beside each other on a time-skipping server, which has one clock as well: time
 * passes only while every sequence waits for it to, and then up to the next one that has waited long enough.
 */
export class SharedClock {
  readonly #skip: (ms: number) => Promise<unknown>;
  readonly #sleepers = new Map<() => void, number>();
  #awake = 0;
  #nowMs = 0;

  constructor(skip: (ms: number) => Promise<unknown>) {
    this.#skip = skip;
  }

  /** No time passes while `work` does something other than {@link elapse}. */
  async keepFrom<T>(work: () => Promise<T>): Promise<T> {
    this.#awake++;
    try {
      return await work();
    } finally {
      this.#awake--;
      void this.#advance();
    }
  }

  /** Resolves when this long has passed; to be called within {@link keepFrom}. */
  async elapse(ms: number): Promise<void> {
    await new Promise<void>((wake) => {
      this.#sleepers.set(wake, this.#nowMs + ms);
      this.#awake--;
      void this.#advance();
    });
  }

  async #advance(): Promise<void> {
    if (this.#awake > 0 || this.#sleepers.size === 0) return;
    const next = Math.min(...this.#sleepers.values());
    this.#awake++; // nobody else moves the clock meanwhile
    await this.#skip(next - this.#nowMs);
    this.#awake--;
    this.#nowMs = next;
    for (const [wake, untilMs] of this.#sleepers) {
      if (untilMs > next) continue;
      this.#sleepers.delete(wake);
      this.#awake++;
      wake();
    }
  }
}
