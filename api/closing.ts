import { Server as NetServer, type Socket } from 'node:net';
import { setImmediate as afterAccepting, setTimeout as delay } from 'node:timers/promises';
import type { Api } from './http.ts';

/** While it closes, every answer tells its client to connect elsewhere; who sends nothing for so long is cut off. */
const LEAVE_WITHIN_MS = 250;
/** Whoever has not taken his answer by then, after the door is closed, is cut off too. */
const TAKEN_WITHIN_MS = 5_000;
const LOOK_EVERY_MS = 20;
/** A turn of the event loop in which nobody came is as short as this; where none ever is, the server stops all the same. */
const QUIET_TURN_MS = 0.05;
const MOST_TURNS = 1_000;

/** Resolves at the end of a quiet turn, right after new clients were taken. */
async function quietTurn(): Promise<void> {
  for (let turn = 0, tookMs = Infinity; tookMs > QUIET_TURN_MS && turn < MOST_TURNS; turn++) {
    const startedAt = performance.now();
    await afterAccepting();
    tookMs = performance.now() - startedAt;
  }
}

/** Lets clients leave when the server stops: what was asked is answered, and no connection without a request stays. */
export function letClientsLeave(app: Api): void {
  const connections = new Set<Socket>();
  app.server.on('connection', (connection: Socket) => {
    connections.add(connection);
    connection.once('close', () => connections.delete(connection));
  });
  let isClosing = false;
  let closed = Promise.resolve();
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (isClosing) reply.header('connection', 'close');
    done(null, payload);
  });
  app.addHook('preClose', async () => {
    isClosing = true;
    await delay(LEAVE_WITHIN_MS);
    await quietTurn(); // the kernel resets whoever it let in and the server has not taken
    // The door alone: the HTTP server's own `close` looks through all connections first, and more come meanwhile.
    closed = new Promise((resolve) => NetServer.prototype.close.call(app.server, () => resolve()));
    const cutAt = performance.now() + TAKEN_WITHIN_MS;
    // Node calls a connection idle whose answer was written, though a slow client has yet to take it.
    const isSending = () =>
      performance.now() < cutAt && [...connections].some(({ writableLength }) => writableLength > 0);
    const closing = setInterval(() => {
      if (isSending()) return;
      app.server.closeIdleConnections();
      // One on which nothing was ever asked, such as a browser opens ahead, does not count as idle.
      for (const connection of connections) if (connection.bytesRead === 0) connection.destroy();
    }, LEAVE_WITHIN_MS);
    app.server.once('close', () => clearInterval(closing));
    while (isSending()) await delay(LOOK_EVERY_MS);
  });
  app.addHook('onClose', () => closed); // Fastify waits for a door alone that it closed itself
}
