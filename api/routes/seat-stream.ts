import type { ServerResponse } from 'node:http';
import { Type } from 'typebox';
import type { CatalogEntry } from '../catalog.ts';
import { EventParams, requireEvent, requireShow, type Api, type ApiDependencies } from '../http.ts';
import { refusals, unavailable } from '../problems.ts';
import { packedStatus } from '../seat-layout.ts';
import {
  Batch,
  compareIds,
  layoutVersionOf,
  positionIn,
  type NumberedChange,
  type SeatStream,
  type Telling,
} from '../seat-stream.ts';

/** A process serves this many live viewers; one who reads too slowly to keep up is let go. */
const MAX_VIEWERS = 20_000;
const MAX_UNREAD_BYTES = 256 * 1024;
const KEEP_ALIVE_MS = 15_000;
/** How often it is looked whether the events that are watched are still laid out as they were. */
const LOOK_MS = 1_000;

/** See {@link positionIn}; the run is missing where Redis was away. */
const STREAM_ID = /^[0-9]{1,15}-[0-9]{1,15}(-[0-9a-f]{8})?(-[0-9]{1,10})?$/;

const StreamQuery = Type.Object(
  {
    show_time: Type.Optional(Type.String({ format: 'date-time' })),
    format: Type.Enum(['full', 'compact'], {
      default: 'full',
      description: '`compact`: `delta` events, `[[place in the layout, status as in the compact map], …]`',
    }),
    last_event_id: Type.Optional(
      Type.String({ pattern: STREAM_ID.source, description: 'As `Last-Event-ID`, for a first connection' }),
    ),
  },
  { additionalProperties: false },
);

/** A `seat` event for each change of the show. */
const tellSeats = (entry: CatalogEntry, show: string | undefined): Telling => ({
  key: `seat ${entry.layout_version} ${show}`,
  toText: (changes) =>
    changes
      .filter(({ change }) => show === undefined || entry.seats.get(change.seat_id) === show)
      .map(({ id, change }) => `id: ${positionIn(entry, id)}\nevent: seat\ndata: ${JSON.stringify(change)}\n\n`)
      .join(''),
});

/** One `delta` event for all changes that came together. */
const tellDeltas = (entry: CatalogEntry, show: string | undefined): Telling => {
  const layout = entry.layouts.get(show);
  return {
    key: `delta ${entry.layout_version} ${show}`,
    toText: (changes) => {
      const deltas = changes.flatMap(({ change }) => {
        const place = layout?.indexOf.get(change.seat_id);
        return place === undefined ? [] : [[place, packedStatus(change.status)]];
      });
      const id = positionIn(entry, changes.at(-1)?.id ?? '');
      return deltas.length === 0 ? '' : `id: ${id}\nevent: delta\ndata: ${JSON.stringify(deltas)}\n\n`;
    },
  };
};

interface Watching {
  stream: SeatStream;
  entry: CatalogEntry;
  telling: Telling;
  lastEventId: string | undefined;
}

/** Tells one viewer from where it was, or from now: first what it missed, then what comes, each change once. */
async function serveViewer(response: ServerResponse, { stream, entry, telling, lastEventId }: Watching) {
  const { event_id } = entry.event;
  let sent = lastEventId ?? '0-0';
  let early: Batch[] | undefined = [];
  const write = (text: string | Buffer) => {
    if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
    else if (text.length > 0 && !response.writableEnded) response.write(text);
  };
  const send = (batch: Batch) => {
    const isNew = ({ id }: NumberedChange) => compareIds(id, sent) > 0;
    const [first] = batch.changes;
    const last = batch.changes.at(-1);
    if (!first || !last || !isNew(last)) return;
    write(isNew(first) ? batch.bytes(telling) : telling.toText(batch.changes.filter(isNew)));
    sent = last.id;
  };
  const reset = (id: string) => {
    sent = id;
    write(`id: ${positionIn(entry, id)}\nevent: reset\ndata: {}\n\n`);
  };
  const { now, stop } = stream.watch(event_id, {
    changes: (batch) => (early ? early.push(batch) : send(batch)),
    reset,
  });
  response.on('close', stop);
  const id = await now;
  if (response.closed) return;
  if (lastEventId === undefined) {
    sent = id;
    write(`id: ${positionIn(entry, id)}\n\n`);
  } else {
    const isLaidOutAlike = layoutVersionOf(lastEventId) === entry.layout_version;
    const missed = isLaidOutAlike && (await stream.changesAfter(event_id, lastEventId).catch(() => undefined));
    if (missed) send(new Batch(missed));
    else reset(id);
  }
  for (const batch of early) send(batch);
  early = undefined;
}

/** Where a viewer was. What is no id of ours is older than everything: it makes a reset. */
const resumePoint = (id: string | undefined) =>
  id === undefined || id === '' || STREAM_ID.test(id) ? id || undefined : '0-0';

export async function seatStreamRoutes(api: Api, { catalog, seatStream }: ApiDependencies): Promise<void> {
  /** By response, how the event was laid out when its viewer came. */
  const viewers = new Map<ServerResponse, CatalogEntry>();

  /** Who came before his event was laid out anew would be told of other seats: when he comes back, he reads the map again. */
  async function letGoOfOldLayouts(): Promise<void> {
    const events = new Set(Array.from(viewers.values(), ({ event }) => event.event_id));
    const entries = await Promise.all(Array.from(events, (id) => catalog.get(id).catch(() => undefined)));
    const versions = new Map(entries.map((entry) => [entry?.event.event_id, entry?.layout_version]));
    for (const [response, { event, layout_version }] of viewers) {
      if ((versions.get(event.event_id) ?? 0) <= layout_version) continue;
      viewers.delete(response);
      response.end();
    }
  }

  const look = setInterval(() => void letGoOfOldLayouts(), LOOK_MS);
  const keepAlive = setInterval(() => {
    for (const response of viewers.keys()) response.write(': still here\n\n');
  }, KEEP_ALIVE_MS);
  let isClosing = false;
  api.addHook('preClose', async () => {
    isClosing = true;
    clearInterval(look);
    clearInterval(keepAlive);
    for (const response of viewers.keys()) response.end();
    viewers.clear();
  });

  api.get(
    '/events/:event_id/seats/stream',
    {
      config: { access: 'public' },
      exposeHeadRoute: false,
      schema: {
        operationId: 'streamSeats',
        summary: 'Seat changes as they happen (server-sent events)',
        tags: ['seats'],
        params: EventParams,
        querystring: StreamQuery,
        headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 64 })) }),
        produces: ['text/event-stream'],
        response: {
          200: { description: 'seat and reset events', content: { 'text/event-stream': { schema: Type.String() } } },
          ...refusals(400, 404, 503),
        },
      },
    },
    async ({ params, query, headers }, reply) => {
      const entry = await requireEvent(catalog, params.event_id);
      const show = requireShow(entry, query.show_time);
      if (isClosing) throw unavailable('The server is closing.'); // nobody would end the stream of who comes now
      if (viewers.size >= MAX_VIEWERS) throw unavailable('Too many viewers: read the map instead.');
      reply.hijack();
      const response = reply.raw;
      if (response.closed) return; // while the event was read: nothing would tell of it any more
      for (const [name, value] of Object.entries(reply.getHeaders())) response.setHeader(name, value ?? '');
      response.removeHeader('transfer-encoding'); // a chunk's frame around each write would cost a quarter of it
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      response.write('retry: 1000\n\n');
      const lastEventId = resumePoint(headers['last-event-id'] ?? query.last_event_id);
      if (layoutVersionOf(lastEventId) > entry.layout_version) {
        response.end(); // his map is newer than what is known here: he comes again until it is known
        return;
      }
      viewers.set(response, entry);
      response.on('close', () => viewers.delete(response));
      await serveViewer(response, {
        stream: seatStream,
        entry,
        telling: query.format === 'compact' ? tellDeltas(entry, show) : tellSeats(entry, show),
        lastEventId,
      });
    },
  );
}
