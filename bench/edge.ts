/** The edge cache of deploy/, with nginx on this machine in place of the container. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../dev/ports.ts';
import { killGroup, until } from '../dev/supervise.ts';
import type { Part } from './stage.ts';

const READY_WITHIN_MS = 5_000;

/** What differs on a machine without containers: addresses and folders, and no log. */
function adapt(config: string, api: URL, port: number, folder: string): string {
  return config
    .replace(/^\s*resolver .*$/m, '')
    .replace(/^\s*zone api .*$/m, '')
    .replace('server api:3000 resolve;', `server ${api.host};`)
    .replace('listen 8080;', `listen 127.0.0.1:${port};`)
    .replace('access_log /dev/stdout json;', 'access_log off;')
    .replaceAll(' /tmp/', ` ${folder}/`)
    .replaceAll('/var/cache/nginx', folder);
}

/** @returns undefined, with a word, where there is no nginx */
export async function startEdge(apiUrl: string, progress: (line: string) => void): Promise<Part | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-edge-'));
  const port = await freePort();
  const file = join(folder, 'nginx.conf');
  await writeFile(file, adapt(await readFile('deploy/nginx.conf', 'utf8'), new URL(apiUrl), port, folder));
  const nginx = spawn('nginx', ['-c', file, '-g', 'daemon off; user root;'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = once(nginx, 'exit').catch(() => undefined); // where there is no nginx, `spawn` says so
  const kill = () => killGroup(nginx);
  process.once('exit', kill);
  const url = `http://127.0.0.1:${port}`;
  try {
    await once(nginx, 'spawn');
    await until(async () => void (await fetch(`${url}/edge/livez`)), AbortSignal.timeout(READY_WITHIN_MS));
  } catch (error) {
    progress(`  without the edge: ${error instanceof Error ? error.message : String(error)}`);
    await rm(folder, { recursive: true });
    return undefined;
  }
  return {
    pid: nginx.pid ?? 0,
    url,
    async stop() {
      nginx.kill('SIGTERM');
      await ended;
      process.off('exit', kill);
      await rm(folder, { recursive: true });
    },
  };
}
