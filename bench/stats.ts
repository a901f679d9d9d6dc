import type { Sample } from './load.ts';

/** Latencies in milliseconds. */
export interface Latencies {
  count: number;
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
}

const round = (value: number) => Math.round(value * 10) / 10;

/** Of an even number, the upper one of the two in the middle. */
export const medianOf = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

export function latenciesOf(samples: readonly Sample[]): Latencies {
  const sorted = samples.map(({ latency_ms }) => latency_ms).sort((a, b) => a - b);
  const at = (share: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { count: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) };
}

/** The latencies of each kind of answer. */
export function latenciesByKind(samples: readonly Sample[]): Record<string, Latencies> {
  const kinds = [...new Set(samples.map(({ kind }) => kind))].sort();
  return Object.fromEntries(kinds.map((kind) => [kind, latenciesOf(samples.filter((sample) => sample.kind === kind))]));
}
