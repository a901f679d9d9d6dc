import { once } from 'node:events';
import { createServer } from 'node:net';

/** The preferred port that is free, the earlier the better; else any free one. */
export async function freePort(preferred: number[] = []): Promise<number> {
  for (const port of preferred) {
    if ((await listenProblem('127.0.0.1', port)) === undefined) return port;
  }
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port');
  return address.port;
}

/** Why nothing can listen there, as an error code such as EADDRINUSE; undefined when it can. */
export async function listenProblem(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  const problem = new Promise<string | undefined>((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
  return problem;
}
