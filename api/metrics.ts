import { Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/** What Prometheus is told of this process: itself, and how long its answers took. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'From the request to the last byte of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers: [registry],
  });
  const durationOf = new Map<string, { observe(seconds: number): void }>(); // one for each route and status
  return {
    registry,
    observe(method: string, route: string, status: number, seconds: number): void {
      const key = `${method} ${route} ${status}`;
      const duration = durationOf.get(key) ?? durations.labels(method, route, String(status));
      durationOf.set(key, duration);
      duration.observe(seconds);
    },
  };
}
