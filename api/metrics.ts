import { Histogram, Registry, collectDefaultMetrics } from 'prom-client';

export interface Durations {
  observe(seconds: number): void;
}

/** What Prometheus is told of this process: itself, and how long its answers took. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const histogram = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'From the request to the last byte of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers: [registry],
  });
  const known = new Map<string, Durations>(); // one for each route and status
  return {
    registry,
    durationsOf(method: string, route: string, status: number): Durations {
      const key = `${method} ${route} ${status}`;
      const durations = known.get(key) ?? histogram.labels(method, route, String(status));
      known.set(key, durations);
      return durations;
    },
  };
}
