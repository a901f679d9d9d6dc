/** A TCP proxy between two processes of this machine, which fails as networks do when it is told to. */
import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** So many chunks of one direction may be on their way; past it nothing more is read, as a full buffer would do. */
const MOST_UNDER_WAY = 256;

export type Proxy = Awaited<ReturnType<typeof openProxy>>;

/** @param target the port to which connections go; it may be changed, for those that come after it */
export async function openProxy(target: number) {
  const sockets = new Set<Socket>();
  let latencyMs = 0;
  let refusing = false;
  /** Settled while traffic may pass. */
  let open = Promise.resolve();

  /** Chunks keep their order, whatever happens to the latency meanwhile. */
  function forward(from: Socket, to: Socket): void {
    let underWay = 0;
    let turn = Promise.resolve();
    const inTurn = (act: () => void) => {
      const arrival = delay(latencyMs);
      turn = turn
        .then(() => arrival)
        .then(() => open)
        .then(act);
    };
    from.on('data', (chunk: Buffer) => {
      underWay++;
      if (underWay >= MOST_UNDER_WAY) from.pause();
      inTurn(() => {
        to.write(chunk);
        underWay--;
        if (underWay < MOST_UNDER_WAY) from.resume();
      });
    });
    from.on('end', () => inTurn(() => to.end()));
    from.on('error', () => to.destroy());
    from.on('close', () => sockets.delete(from));
    sockets.add(from);
  }

  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (refusing) {
      client.resetAndDestroy();
      return;
    }
    const service = connect({ port: proxy.target, host: '127.0.0.1', allowHalfOpen: true });
    service.on('error', () => client.resetAndDestroy());
    forward(client, service);
    forward(service, client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port');

  const proxy = {
    port: address.port,
    target,

    /** Each way takes this much longer. */
    async delay(ms: number, forMs: number): Promise<void> {
      latencyMs = ms;
      await delay(forMs);
      latencyMs = 0;
    },

    /** A black hole: nothing passes, and nobody is told. What was sent arrives when it is over, as TCP would see to. */
    async swallow(forMs: number): Promise<void> {
      open = delay(forMs);
      await open;
    },

    /** Connections break, those that are there and those that are tried. */
    async refuse(forMs: number): Promise<void> {
      refusing = true;
      proxy.reset();
      await delay(forMs);
      refusing = false;
    },

    /** Every connection breaks. */
    reset(): void {
      for (const socket of sockets) socket.resetAndDestroy();
    },

    async close(): Promise<void> {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return proxy;
}
