/** A command of the checkout as a process of its own, as an operator would start it. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));

/** Empty counts as not set: whoever runs the tests may have these for other ends. */
export const NOTHING_SET = {
  PORT: '',
  HOST: '',
  DATABASE_URL: '',
  REDIS_URL: '',
  REDIS_CACHE_URL: '',
  TEMPORAL_ADDRESS: '',
  TEMPORAL_NAMESPACE: '',
  DEPLOYMENT_VERSION: '',
  HOLD_SECONDS: '',
  PAYMENT_GATEWAY: '',
  DATA_DIR: '',
  SEED_EVENTS: '',
  SMTP_URL: '',
  JWT_SECRET: '',
  JWKS_URL: '',
  JWT_ISSUER: '',
  JWT_AUDIENCE: '',
  RATE_LIMIT_USER: '',
  RATE_LIMIT_ADDRESS: '',
  TRUST_PROXY: '',
  CORS_ORIGINS: '',
  ENCRYPTION_KEY: '',
  WEBHOOK_SECRET: '',
};

export type Command = ReturnType<typeof npm>;

/** `npm(['run', 'api'], { PORT: '3000' })`: with these settings and no others. */
export function npm(args: string[], settings: Record<string, string>) {
  const child = spawn('npm', args, {
    cwd: CHECKOUT,
    env: { ...process.env, ...NOTHING_SET, LOG_LEVEL: 'warn', ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => (said.stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (said.stderr += text.toString()));
  const ended = once(child, 'close').then(() => child.exitCode ?? child.signalCode);

  /** The first line that starts like this, as soon as it is there. */
  async function says(start: string): Promise<string> {
    for (;;) {
      const line = Object.values(said)
        .flatMap((text) => text.split('\n').slice(0, -1))
        .find((it) => it.startsWith(start));
      if (line !== undefined) return line;
      const more = [once(child.stdout, 'data'), once(child.stderr, 'data'), ended.then(() => 'ended')];
      if ((await Promise.race(more)) === 'ended') {
        throw new Error(
          `npm ${args.join(' ')} ended (${await ended}) without "${start}":\n${said.stdout}${said.stderr}`,
        );
      }
    }
  }

  return {
    child,
    said,
    says,
    /** The exit code, or the signal that killed it. */
    ended,
    stop: async () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

interface Process {
  pid: number;
  parent: number;
  command: string;
}

/** Every process of this machine that still runs. */
export async function runningProcesses(): Promise<Process[]> {
  const { stdout } = await promisify(execFile)('ps', ['-ww', '-A', '-o', 'pid=,ppid=,stat=,command=']);
  return stdout.split('\n').flatMap((line) => {
    const [, pid, parent, state = '', command = ''] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    return pid === undefined || state.startsWith('Z') ? [] : [{ pid: Number(pid), parent: Number(parent), command }];
  });
}

/** The process ids of what a process started, and of what these started, and so on. */
export async function descendantsOf({ pid }: Pick<ChildProcess, 'pid'>): Promise<number[]> {
  const processes = await runningProcesses();
  const below = (parent: number | undefined): number[] =>
    processes.filter((it) => it.parent === parent).flatMap((it) => [it.pid, ...below(it.pid)]);
  return below(pid);
}
