/** The folder in which the embedded services keep their files: one owner at a time, who notes in it what runs where. */
import { execFile } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { link, mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { StartError } from './start-error.ts';
import type { Log } from './supervise.ts';

const LEFTOVER_STOP_MS = 10_000;

/** What `npm run api` and `npm run worker` read; an address is missing where the environment gave one. */
interface Services {
  owner_pid: number;
  database_url?: string;
  redis_url?: string;
  temporal_address?: string;
  temporal_ui_url?: string;
  /** The processes of this owner, for whoever has to clean up after it. */
  pids: Record<string, number>;
}

/** A data folder that is ours until it is released. */
export class DataDir {
  readonly path: string;
  readonly #services: Services = { owner_pid: process.pid, pids: {} };

  private constructor(path: string) {
    this.path = resolve(path);
  }

  /**
   * Takes the folder, and makes it where there is none. What an owner that was killed left running is stopped.
   * @throws StartError when a live owner has it, or nothing can be written there
   */
  static async acquire(path: string, log: Log): Promise<DataDir> {
    const dataDir = new DataDir(path);
    try {
      await mkdir(dataDir.path, { recursive: true, mode: 0o700 });
      while (!(await dataDir.#take())) await dataDir.#evict(log);
      return dataDir;
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error)) throw error;
      throw new StartError(`nothing can be kept in ${dataDir.path} (${error.message}): set DATA_DIR to another folder`);
    }
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Notes addresses for `npm run api` and `npm run worker`. */
  note(addresses: Omit<Partial<Services>, 'owner_pid' | 'pids'>): void {
    Object.assign(this.#services, addresses);
    this.#write();
  }

  /** Notes a process as soon as it exists, so that a successor can stop it should we be killed. */
  notePid(name: string, pid: number): void {
    this.#services.pids[name] = pid;
    this.#write();
  }

  /** Lets the next owner in. */
  async release(): Promise<void> {
    await rm(this.#record, { force: true });
  }

  get #record(): string {
    return this.file('services.json');
  }

  async #take(): Promise<boolean> {
    const whole = this.#writeBeside();
    try {
      await link(whole, this.#record);
      return true;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw error;
    } finally {
      await rm(whole);
    }
  }

  async #evict(log: Log): Promise<void> {
    const { owner_pid, pids } = await this.#readRecord();
    if (owner_pid !== process.pid && (await commandOf(owner_pid)).includes('dev/start')) {
      throw new StartError(`already running (pid ${owner_pid}) in ${this.path}`);
    }
    for (const [name, pid] of Object.entries(pids)) {
      if (!(await this.#isOurs(pid))) continue;
      log(`stopping ${name} (pid ${pid}), which an earlier start left running`);
      await this.#stopLeftover(pid);
    }
    await rm(this.#record, { force: true });
  }

  async #readRecord(): Promise<Services> {
    const unreadable: Services = { owner_pid: 0, pids: {} };
    return readFile(this.#record, 'utf8')
      .then((text) => ({ ...unreadable, ...JSON.parse(text) }))
      .catch(() => unreadable);
  }

  /** A process id may have been given to someone else since; ours have the folder in their command line. */
  async #isOurs(pid: number): Promise<boolean> {
    return (await commandOf(pid)).includes(this.path);
  }

  async #stopLeftover(pid: number): Promise<void> {
    const deadline = Date.now() + LEFTOVER_STOP_MS;
    for (
      let signal: NodeJS.Signals | 0 = 'SIGINT';
      await this.#isOurs(pid);
      signal = Date.now() > deadline ? 'SIGKILL' : 0
    ) {
      process.kill(pid, signal);
      await sleep(50);
    }
  }

  #write(): void {
    renameSync(this.#writeBeside(), this.#record);
  }

  /** The record is then put in place whole: others may be reading it. */
  #writeBeside(): string {
    const path = `${this.#record}.${process.pid}`;
    writeFileSync(path, JSON.stringify(this.#services, null, 2), { mode: 0o600 });
    return path;
  }
}

/** The command line of a process; empty when there is no such process. */
async function commandOf(pid: number): Promise<string> {
  return promisify(execFile)('ps', ['-ww', '-o', 'command=', '-p', String(pid)]).then(
    ({ stdout }) => stdout,
    () => '',
  );
}
