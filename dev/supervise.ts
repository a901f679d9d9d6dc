import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { on, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { StartError } from './start-error.ts';

const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 5_000;
/** Having run for this long, a program that dies is started again as soon as the first time. */
const STEADY_MS = 30_000;

/** Takes one line for the person at the terminal. */
export type Log = (line: string) => void;

/** How to run something, and how to tell that it serves. */
export interface Program {
  name: string;
  command: [file: string, ...args: string[]];
  options: SpawnOptions;
  /** Resolves once it serves; rejects when the signal aborts. */
  ready: (child: ChildProcess, signal: AbortSignal) => Promise<void>;
  readyWithinMs: number;
  stopSignal: NodeJS.Signals;
  stopWithinMs: number;
  /** Told of each process started, the first and its successors. */
  onSpawn: (pid: number) => void;
  /** Ends each complaint, such as "see /path/to.log". */
  hint: string;
  log: Log;
}

/** Something that runs until it is stopped. */
export interface Stoppable {
  stop: () => Promise<void>;
}

interface Run {
  child: ChildProcess;
  /** How it ended; never rejects. */
  ended: Promise<string>;
}

/**
 * Starts a program, and starts it again whenever it dies, until it is stopped. It has its own process group, so that a
 * terminal's Ctrl-C reaches only us, and it is killed should we exit without stopping it.
 * @throws StartError when it is not ready in time
 */
export async function supervise(program: Program): Promise<Stoppable> {
  const stopping = new AbortController();
  let run = spawnProgram(program);
  const kill = () => killGroup(run.child);
  process.once('exit', kill);
  await becomeReady(program, run).catch(async (error: unknown) => {
    kill();
    await run.ended;
    process.off('exit', kill);
    throw error;
  });

  const keptAlive = keepAlive();
  async function keepAlive(): Promise<void> {
    for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
      const startedAt = Date.now();
      const how = await run.ended;
      if (stopping.signal.aborted) return;
      if (Date.now() - startedAt > STEADY_MS) delay = FIRST_DELAY_MS;
      program.log(`${program.name} ${how}; starting it again in ${delay} ms`);
      await sleep(delay, undefined, { signal: stopping.signal }).catch(() => undefined);
      if (stopping.signal.aborted) return;
      run = spawnProgram(program);
      await becomeReady(program, run).then(() => program.log(`${program.name} is back`), kill);
    }
  }

  async function stop(): Promise<void> {
    stopping.abort();
    run.child.kill(program.stopSignal);
    const deadline = setTimeout(kill, program.stopWithinMs);
    await keptAlive;
    clearTimeout(deadline);
    process.off('exit', kill);
  }

  return { stop };
}

function spawnProgram({ command: [file, ...args], options, onSpawn }: Program): Run {
  const child = spawn(file, args, { ...options, detached: true });
  const ended = once(child, 'exit').then(
    ([code, signal]) => (signal ? `was killed by ${signal}` : `ended with code ${code}`),
    (error: Error) => `could not be run (${error.message})`,
  );
  if (child.pid !== undefined) onSpawn(child.pid);
  return { child, ended };
}

async function becomeReady({ name, ready, readyWithinMs, hint }: Program, run: Run): Promise<void> {
  const late = new AbortController();
  const deadline = setTimeout(() => late.abort(), readyWithinMs);
  const died = run.ended.then((how) => Promise.reject(new StartError(`${name} ${how} before it was ready; ${hint}`)));
  const served = ready(run.child, late.signal).catch(() => {
    throw new StartError(`${name} was not ready within ${readyWithinMs / 1000} s; ${hint}`);
  });
  await Promise.race([served, died]).finally(() => {
    clearTimeout(deadline);
    late.abort();
  });
}

/** Ends a process and those that it started, where they are still there. */
export function killGroup({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself a moment ago.
  }
}

/** Tries again until the probe succeeds; each try needs a deadline of its own. Rejects once the signal aborts. */
export async function until(probe: () => Promise<void>, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      return await probe();
    } catch {
      await sleep(50, undefined, { signal });
    }
  }
}

/** Resolves when one of our processes says that it is ready, over the channel that it was started with. */
export async function saysReady(child: ChildProcess, signal: AbortSignal): Promise<void> {
  for await (const [message] of on(child, 'message', { signal })) {
    if (message === 'ready') return;
  }
}
