/** The edge cache of deploy/, with nginx on this machine in place of the container. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './ports.ts';
import { killGroup, until, type Stoppable } from './supervise.ts';

const READY_WITHIN_MS = 5_000;

/** The APIs behind the edge, by URL. */
export interface Behind {
  api: string;
  api_reads: string;
}

export interface Edge extends Stoppable {
  pid: number;
  url: string;
}

/** What differs on a machine without containers: addresses and folders, and no log. */
function adapt(config: string, { api, api_reads }: Behind, port: number, folder: string): string {
  return config
    .replace(/^\s*resolver .*$/m, '')
    .replaceAll(/^\s*zone .*$/gm, '')
    .replace('server api:3000 resolve;', `server ${new URL(api).host};`)
    .replace('server api-reads:3000 resolve;', `server ${new URL(api_reads).host};`)
    .replace('listen 8080;', `listen 127.0.0.1:${port};`)
    .replace('access_log /dev/stdout json;', 'access_log off;')
    .replaceAll(' /tmp/', ` ${folder}/`)
    .replaceAll('/var/cache/nginx', folder);
}

/**
 * @returns undefined where there is no nginx
 * @throws when it does not serve in time; its complaint is on our standard error
 */
export async function startEdge(behind: Behind): Promise<Edge | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-edge-'));
  const port = await freePort();
  const file = join(folder, 'nginx.conf');
  await writeFile(file, adapt(await readFile('deploy/nginx.conf', 'utf8'), behind, port, folder));
  const nginx = spawn('nginx', ['-c', file, '-g', 'daemon off; user root;'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const isInstalled = await once(nginx, 'spawn').then(
    () => true,
    () => false,
  );
  if (!isInstalled) {
    await rm(folder, { recursive: true });
    return undefined;
  }
  const ended = once(nginx, 'exit');
  const leaveNothing = () => {
    killGroup(nginx);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  process.once('exit', leaveNothing);
  const url = `http://127.0.0.1:${port}`;
  async function stop(): Promise<void> {
    nginx.kill('SIGTERM');
    await ended;
    process.off('exit', leaveNothing);
    await rm(folder, { recursive: true });
  }

  const serves = until(async () => void (await fetch(`${url}/edge/livez`)), AbortSignal.timeout(READY_WITHIN_MS));
  await serves.catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { pid: nginx.pid ?? 0, url, stop };
}
