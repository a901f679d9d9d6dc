import type { Socket } from 'node:net';
import { setImmediate as afterAccepting, setTimeout as delay } from 'node:timers/promises';
import type { Api } from './http.ts';

/** While it closes, every answer tells its client to connect elsewhere; who sends nothing for so long is cut off. */
const LEAVE_WITHIN_MS = 250;
/** Of the event loop: under a load that leaves no turn free, the server stops all the same. */
const MOST_TURNS = 1_000;

/** Lets clients leave when the server stops: what was asked is answered, and no connection without a request stays. */
export function letClientsLeave(app: Api): void {
  const connections = new Set<Socket>();
  let comings = 0;
  app.server.on('connection', (connection: Socket) => {
    comings++;
    connections.add(connection);
    connection.once('close', () => connections.delete(connection));
  });
  let isClosing = false;
  app.addHook('onSend', (_request, reply, payload, done) => {
    comings++; // who was answered comes again at once
    if (isClosing) reply.header('connection', 'close');
    done(null, payload);
  });
  app.addHook('preClose', async () => {
    isClosing = true;
    await delay(LEAVE_WITHIN_MS);
    // The kernel resets whoever it let in and the server had not taken yet: so close in a turn in which nobody comes.
    for (let turn = 0, before = -1; turn < MOST_TURNS && comings !== before; turn++) {
      before = comings;
      await afterAccepting();
    }
    const closing = setInterval(() => {
      app.server.closeIdleConnections();
      // One on which nothing was ever asked, such as a browser opens ahead, does not count as idle.
      for (const connection of connections) if (connection.bytesRead === 0) connection.destroy();
    }, LEAVE_WITHIN_MS);
    app.server.once('close', () => clearInterval(closing));
  });
}
