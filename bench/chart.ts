import type { Sample } from './load.ts';

const WIDTH = 900;
const HEIGHT = 300;
const MARGIN = 45;
const COLOURS = ['#1b6ca8', '#c0392b', '#2e8b57', '#b8860b', '#6a4c93', '#555555'];

/** Latencies over time as a picture (SVG): a line for each kind of answer, its p99 in each second, on a log scale. */
export function latencyChart(title: string, samples: readonly Sample[]): string {
  const kinds = [...new Set(samples.map(({ kind }) => kind))].sort();
  const seconds = Math.ceil(samples.reduce((latest, { due_ms }) => Math.max(latest, due_ms), 1) / 1_000);
  const x = (second: number) => MARGIN + ((WIDTH - 2 * MARGIN) * second) / seconds;
  const y = (ms: number) => HEIGHT - MARGIN - ((HEIGHT - 2 * MARGIN) * Math.log10(Math.max(1, ms))) / 4;
  const grid = [1, 10, 100, 1_000, 10_000].map(
    (ms) =>
      `<line x1="${MARGIN}" x2="${WIDTH - MARGIN}" y1="${y(ms)}" y2="${y(ms)}" stroke="#ddd"/>` +
      `<text x="${MARGIN - 5}" y="${y(ms) + 4}" text-anchor="end">${ms}</text>`,
  );
  const lines = kinds.map((kind, i) => {
    const points = p99BySecond(samples.filter((sample) => sample.kind === kind)).map(
      ([second, ms]) => `${x(second).toFixed(1)},${y(ms).toFixed(1)}`,
    );
    const colour = COLOURS[i % COLOURS.length];
    return (
      `<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5"/>` +
      `<text x="${MARGIN + 10 + i * 110}" y="${HEIGHT - 10}" fill="${colour}">${kind}</text>`
    );
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12">` +
    `<rect width="100%" height="100%" fill="white"/><text x="${MARGIN}" y="20" font-size="14">${title}: p99 in ms, by second</text>` +
    `${grid.join('')}${lines.join('')}</svg>\n`
  );
}

function p99BySecond(samples: readonly Sample[]): [second: number, ms: number][] {
  const bySecond = new Map<number, number[]>();
  for (const { due_ms, latency_ms } of samples) {
    const second = Math.floor(due_ms / 1_000);
    const latencies = bySecond.get(second) ?? [];
    latencies.push(latency_ms);
    bySecond.set(second, latencies);
  }
  return [...bySecond]
    .sort(([a], [b]) => a - b)
    .map(([second, latencies]) => [
      second,
      latencies.sort((a, b) => a - b)[Math.min(latencies.length - 1, Math.floor(latencies.length * 0.99))] ?? 0,
    ]);
}
