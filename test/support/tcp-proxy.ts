/** A way to a service that can be cut, and mended. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { freePort } from '../../dev/ports.ts';

/** @param address of the service, as `host:port` */
export async function openProxy(address: string) {
  const { hostname, port: servicePort } = new URL(`tcp://${address}`);
  const port = await freePort();
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const service = connect(Number(servicePort), hostname);
    for (const [from, to] of [
      [client, service],
      [service, client],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  const mend = () => once(server.listen(port, '127.0.0.1'), 'listening');
  await mend();
  return {
    address: `127.0.0.1:${port}`,
    mend,
    cut(): void {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
