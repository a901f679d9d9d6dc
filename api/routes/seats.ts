import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { Seat } from '../../domain/model.ts';
import type { CatalogEntry } from '../catalog.ts';
import { EventParams, requireEvent, type Api, type ApiDependencies } from '../http.ts';
import { Problem, refusals, unavailable } from '../problems.ts';
import { SEAT_MAP_TTL_MS, type Encoding, type SeatMap } from '../seat-maps.ts';
import { compareIds, type NumberedChange, type SeatStream } from '../seat-stream.ts';

/** A process serves this many live viewers; one who reads too slowly to keep up is let go. */
const MAX_VIEWERS = 20_000;
const MAX_UNREAD_BYTES = 256 * 1024;
const KEEP_ALIVE_MS = 15_000;

const StreamId = Type.String({ pattern: '^[0-9]{1,15}-[0-9]{1,15}$' });

const SeatsQuery = Type.Object(
  { show_time: Type.Optional(Type.String({ format: 'date-time' })) },
  { additionalProperties: false },
);

const StreamQuery = Type.Object(
  {
    show_time: Type.Optional(Type.String({ format: 'date-time' })),
    last_event_id: Type.Optional(StreamId),
  },
  { additionalProperties: false },
);

/** The show that is meant, by its time; undefined where the event has one. */
function requireShow({ event }: CatalogEntry, showTime: string | undefined): string | undefined {
  const { show_times } = event;
  const wanted = showTime === undefined ? undefined : new Date(showTime).toISOString();
  if (wanted === undefined && show_times.length > 1) {
    throw new Problem('SHOW_TIME_REQUIRED', 'Name one of the shows with show_time.', { show_times });
  }
  if (wanted !== undefined && !show_times.includes(wanted)) {
    throw new Problem('SHOW_NOT_FOUND', `There is no show at ${wanted}.`, { show_times });
  }
  return show_times.length > 1 ? wanted : undefined;
}

/** The best encoding that the client takes (RFC 9110, 12.5.3; weights other than 0 are not compared). */
function negotiate(acceptEncoding: string | undefined): Encoding {
  const refused = /;\s*q=0(\.0*)?$/;
  const accepted = (acceptEncoding ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => !refused.test(entry))
    .map((entry) => entry.split(';', 1)[0]?.trim().toLowerCase());
  if (accepted.includes('br')) return 'br';
  return accepted.includes('gzip') ? 'gzip' : 'identity';
}

const isMatch = (ifNoneMatch: string | undefined, etag: string) =>
  ifNoneMatch !== undefined &&
  ifNoneMatch.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);

function sendMap(reply: FastifyReply, map: SeatMap, encoding: Encoding, ifNoneMatch: string | undefined): FastifyReply {
  const etag = `"${map.tag}-${encoding}"`;
  const sharedSeconds = Math.floor((map.read_at_ms + SEAT_MAP_TTL_MS - Date.now()) / 1_000);
  reply.headers({
    etag,
    vary: 'Accept-Encoding',
    'cache-control': `public, max-age=0, s-maxage=${Math.max(1, sharedSeconds)}`,
  });
  if (isMatch(ifNoneMatch, etag)) return reply.code(304).send();
  if (encoding !== 'identity') reply.header('content-encoding', encoding);
  return reply.type('application/json; charset=utf-8').send(map.bodies[encoding]);
}

const toFrame = ({ id, change }: NumberedChange) => `id: ${id}\nevent: seat\ndata: ${JSON.stringify(change)}\n\n`;
const resetFrame = (id: string) => `id: ${id}\nevent: reset\ndata: {}\n\n`;

interface Watching {
  stream: SeatStream;
  eventId: string;
  isWanted: (change: NumberedChange) => boolean;
  lastEventId: string | undefined;
}

/** Tells one viewer from where it was, or from now: first what it missed, then what comes, each change once. */
async function serveViewer(response: ServerResponse, { stream, eventId, isWanted, lastEventId }: Watching) {
  let sent = lastEventId ?? '';
  let early: NumberedChange[] | undefined = [];
  const write = (text: string) => {
    if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
    else response.write(text);
  };
  const send = (changes: NumberedChange[]) => {
    const fresh = changes.filter((change) => sent === '' || compareIds(change.id, sent) > 0);
    sent = changes.at(-1)?.id ?? sent;
    const frames = fresh.filter(isWanted).map(toFrame).join('');
    if (frames) write(frames);
  };
  const reset = (id: string) => {
    sent = id;
    write(resetFrame(id));
  };
  const { id, stop } = await stream.watch(eventId, {
    changes: (changes) => (early ? early.push(...changes) : send(changes)),
    reset,
  });
  response.on('close', stop);
  if (response.closed) stop();
  const missed =
    lastEventId === undefined ? [] : await stream.changesAfter(eventId, lastEventId).catch(() => undefined);
  if (lastEventId === undefined) write(`id: ${id}\n\n`);
  if (missed) send(missed);
  else reset(id);
  send(early);
  early = undefined;
}

export async function seatRoutes(api: Api, { catalog, seatMaps, seatStream }: ApiDependencies): Promise<void> {
  const viewers = new Set<ServerResponse>();
  const keepAlive = setInterval(() => {
    for (const response of viewers) response.write(': still here\n\n');
  }, KEEP_ALIVE_MS);
  api.addHook('preClose', async () => {
    clearInterval(keepAlive);
    for (const response of viewers) response.end();
  });

  api.get(
    '/events/:event_id/seats',
    {
      schema: {
        summary: 'The seat map',
        tags: ['seats'],
        params: EventParams,
        querystring: SeatsQuery,
        response: { 200: Type.Array(Seat), 304: Type.Null(), ...refusals(400, 404, 503) },
      },
    },
    async ({ params, query, headers }, reply) => {
      const entry = await requireEvent(catalog, params.event_id);
      const map = await seatMaps.get(entry.event, requireShow(entry, query.show_time));
      return sendMap(reply, map, negotiate(headers['accept-encoding']), headers['if-none-match']);
    },
  );

  api.get(
    '/events/:event_id/seats/stream',
    {
      exposeHeadRoute: false,
      schema: {
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
    async ({ params, query, headers, id }, reply) => {
      const entry = await requireEvent(catalog, params.event_id);
      const show = requireShow(entry, query.show_time);
      if (viewers.size >= MAX_VIEWERS) throw unavailable('Too many viewers: read the map instead.');
      reply.hijack();
      const response = reply.raw;
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
        'x-request-id': id,
      });
      response.write('retry: 1000\n\n');
      viewers.add(response);
      response.on('close', () => viewers.delete(response));
      await serveViewer(response, {
        stream: seatStream,
        eventId: params.event_id,
        isWanted: ({ change }) => show === undefined || entry.seats.get(change.seat_id) === show,
        lastEventId: resumePoint(headers['last-event-id'] ?? query.last_event_id),
      });
    },
  );
}

/** Where a viewer was. What is no id of ours is older than everything: it makes a reset. */
const resumePoint = (id: string | undefined) =>
  id === undefined || id === '' || /^\d{1,15}-\d{1,15}$/.test(id) ? id || undefined : '0-0';
