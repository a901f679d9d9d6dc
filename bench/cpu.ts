import { readFileSync, readdirSync } from 'node:fs';

/** Seconds of processor time by name. */
export type CpuSeconds = Record<string, number>;

const TICKS_PER_SECOND = 100;

interface ProcessTimes {
  pid: number;
  parent: number;
  group: number;
  seconds: number;
  resident_mb: number;
}

/** From /proc/<pid>/stat (proc(5)): its own time and that of children that it has waited for. */
function readTimes(pid: number): ProcessTimes | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [parent = 0, group = 0, ticks, pages = 0] = [fields[1], fields[2], fields.slice(11, 15), fields[21]];
    return {
      pid,
      parent,
      group,
      seconds: ticks.reduce((sum, n) => sum + n, 0) / TICKS_PER_SECOND,
      resident_mb: (pages * 4) / 1024,
    };
  } catch {
    return undefined;
  }
}

const allTimes = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readTimes(Number(name)) ?? []);

/** What each process, its children and its group have used so far. @param pids by name */
export function cpuSeconds(pids: Record<string, number>): CpuSeconds {
  const times = allTimes();
  const used = (leader: number) =>
    times
      .filter(({ pid, parent, group }) => [pid, parent, group].includes(leader))
      .reduce((sum, { seconds }) => sum + seconds, 0);
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, used(pid)]));
}

/** Resident memory of each process in MB. */
export function residentMb(pids: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(pids).map(([name, pid]) => [name, Math.round(readTimes(pid)?.resident_mb ?? 0)]),
  );
}

/** Milliseconds of processor time that each process spent on one of `operations` between two readings. */
export function cpuMsPerOperation(before: CpuSeconds, after: CpuSeconds, operations: number): Record<string, number> {
  return Object.fromEntries(
    Object.entries(after).map(([name, seconds]) => [
      name,
      Math.round(((seconds - (before[name] ?? 0)) * 1_000_000) / Math.max(1, operations)) / 1_000,
    ]),
  );
}
