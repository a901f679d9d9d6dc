import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Below what systems give to outgoing connections: from there, a port may be gone when its service is started again,
 * and a client that looks for a dead service may be connected to itself.
 */
const FIRST_PORT = 15_000;
const LAST_PORT = 32_000;

/**
 * The preferred port that is free, the earlier the better; else any free one.
 * @param chosen ports that are not in use yet, but will be
 */
export async function freePort(preferred: number[] = [], chosen: number[] = []): Promise<number> {
  for (const port of preferred) {
    if (await isFree(port, chosen)) return port;
  }
  for (;;) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (await isFree(port, chosen)) return port;
  }
}

const isFree = async (port: number, chosen: number[]) =>
  !chosen.includes(port) && (await listenProblem('127.0.0.1', port)) === undefined;

/** Why nothing can listen there, as an error code such as EADDRINUSE; undefined when it can. */
export async function listenProblem(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  const problem = new Promise<string | undefined>((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
  return problem;
}
