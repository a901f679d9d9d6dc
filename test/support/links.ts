/** Connections to the services that can be cut, while the other tests go on with the same services. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connectPostgres, connectRedis } from '../../runtime/connections.ts';
import { log, type Stores } from './stores.ts';

type Link = Awaited<ReturnType<typeof openLink>>;

/** @param target host and port of the service */
export async function openLink(target: URL) {
  const pairs = new Set<[Socket, Socket]>();
  let isSilent = false;

  const join = ([client, service]: [Socket, Socket]) => void client.pipe(service).pipe(client);
  const part = ([client, service]: [Socket, Socket]) => {
    for (const [from, to] of [
      [client, service],
      [service, client],
    ] as const) {
      from.unpipe(to);
      from.pause();
    }
  };

  const server = createServer((client) => {
    const service = connect(Number(target.port), target.hostname);
    const pair: [Socket, Socket] = [client, service];
    pairs.add(pair);
    for (const socket of pair) {
      socket
        .on('error', () => undefined)
        .on('close', () => {
          pairs.delete(pair);
          for (const each of pair) each.destroy();
        });
    }
    if (!isSilent) join(pair);
  });
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return typeof address === 'object' ? (address?.port ?? 0) : 0;
  };
  const port = await listen(0);

  return {
    port,
    address: `127.0.0.1:${port}`,
    /** A black hole: connections are there and can be made, and nothing comes. */
    async silence(): Promise<void> {
      isSilent = true;
      pairs.forEach(part);
    },
    /** Connections break, and new ones are refused. */
    async refuse(): Promise<void> {
      server.close();
      for (const [client] of pairs) client.resetAndDestroy();
    },
    async restore(): Promise<void> {
      if (isSilent) pairs.forEach(join);
      isSilent = false;
      if (!server.listening) await listen(port);
    },
    close(): void {
      server.close();
      for (const [client] of pairs) client.destroy();
    },
  };
}

/** The same stores for a system whose connections to them can be cut, each by itself. */
export async function linkStores(stores: Stores) {
  const links = {
    PostgreSQL: await openLink(new URL(stores.databaseUrl)),
    Redis: await openLink(new URL(stores.redisUrl)),
    Temporal: await openLink(new URL(`tcp://${stores.temporalAddress}`)),
  };
  const through = (url: string, { port }: Link) => Object.assign(new URL(url), { port: String(port) }).href;
  const databaseUrl = through(stores.databaseUrl, links.PostgreSQL);
  const redisUrl = through(stores.redisUrl, links.Redis);
  const database = connectPostgres(databaseUrl, 20, log, { byKey: true });
  const redis = connectRedis(redisUrl, log);
  await once(redis, 'ready');
  const linked: Stores = {
    ...stores,
    ...{ databaseUrl, redisUrl, database, redis, temporalAddress: links.Temporal.address },
    async close() {
      redis.disconnect();
      await database.end();
      for (const link of Object.values(links)) link.close();
    },
  };
  return { links, linked };
}
