import type { FastifyReply } from 'fastify';
import { LRUCache } from 'lru-cache';
import { Type, type Static } from 'typebox';
import { Id, Seat } from '../../domain/model.ts';
import type { CatalogEntry } from '../catalog.ts';
import { EventParams, requireEvent, requireShow, type Api, type ApiDependencies } from '../http.ts';
import type { PublicAnswer, MicroCache } from '../micro-cache.ts';
import { VALIDATED, withHeaders } from '../openapi.ts';
import { Problem, refusals } from '../problems.ts';
import type { SeatLayout } from '../seat-layout.ts';
import { SEAT_MAP_TTL_MS, encode, type Encoding, type SeatMap } from '../seat-maps.ts';
import { positionIn } from '../seat-stream.ts';

/** Layouts in memory, in one encoding each: of 50,000 seats about 7 MB, or half a megabyte where it is compressed. */
const MAX_LAYOUTS = 20;

const ShowQuery = Type.Object({ show_time: Type.Optional(Type.String({ format: 'date-time' })) });

const SeatsQuery = Type.Object(
  {
    ...ShowQuery.properties,
    format: Type.Enum(['full', 'compact'], {
      default: 'full',
      description: '`compact`: two bits a seat, in the order of the layout that the `Link` header names',
    }),
  },
  { additionalProperties: false },
);

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

interface Representation {
  media_type: string;
  tag: string;
  encoding: Encoding;
  body: Buffer;
}

/**
 * Sends a body; 304 where the client has it.
 * @param keep keeps the answer for others who ask the same
 */
function sendEncoded(
  reply: FastifyReply,
  { media_type, tag, encoding, body }: Representation,
  keep: (answer: PublicAnswer) => void = () => undefined,
): FastifyReply {
  const etag = `"${tag}-${encoding}"`;
  reply.headers({ etag, vary: 'Accept-Encoding' });
  const bodyHeaders = {
    'content-type': media_type,
    ...(encoding === 'identity' ? {} : { 'content-encoding': encoding }),
    'content-length': body.length,
  };
  keep({ etag, headers: reply.getHeaders(), bodyHeaders, body });
  return isMatch(reply.request.headers['if-none-match'], etag)
    ? reply.code(304).send()
    : reply.headers(bodyHeaders).send(body);
}

/**
 * A second in a shared cache, then stale while that cache asks again, and if we do not answer: never older than the
 * bound on a map's age. (RFC 5861)
 */
function cacheControl(secondsLeft: number): string {
  const stale = Math.max(0, secondsLeft - 1);
  return `public, max-age=0, s-maxage=1, stale-while-revalidate=${stale}, stale-if-error=${stale}`;
}
function layoutPath(eventId: string, layoutId: string, showTime: string | undefined): string {
  const show = showTime === undefined ? '' : `?show_time=${encodeURIComponent(showTime)}`;
  return `/api/v1/events/${encodeURIComponent(eventId)}/seats/layouts/${layoutId}${show}`;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const MAP_HEADERS = {
  ...VALIDATED,
  'Seat-Stream-Position': {
    type: 'string',
    description: 'Where the live changes go on, as `Last-Event-ID`; its last number is that of the layout',
  },
};
const COMPACT_TYPE = 'application/vnd.holdfast.seat-statuses';

export async function seatRoutes(
  api: Api,
  { catalog, seatMaps, microCache }: ApiDependencies & { microCache: MicroCache },
): Promise<void> {
  const layouts = new LRUCache<string, Buffer, { layout: SeatLayout; encoding: Encoding }>({
    max: MAX_LAYOUTS,
    ignoreFetchAbort: true, // as for the bodies of maps
    fetchMethod: (_key, _before, { context: { layout, encoding } }) => encode(layout.json, encoding),
  });

  async function sendMap(reply: FastifyReply, entry: CatalogEntry, map: SeatMap, query: Static<typeof SeatsQuery>) {
    const { format, show_time } = query;
    const encoding = negotiate(reply.request.headers['accept-encoding']);
    const body = await seatMaps.bodyOf({ map, format, encoding });
    const expiresAtMs = map.read_at_ms + SEAT_MAP_TTL_MS;
    const secondsLeft = Math.floor((expiresAtMs - Date.now()) / 1_000);
    const keep = (answer: PublicAnswer) =>
      microCache.keep(reply.request.raw, answer, expiresAtMs - secondsLeft * 1_000);
    reply.headers({
      'cache-control': cacheControl(secondsLeft),
      'seat-stream-position': positionIn(entry, map.position),
    });
    if (format === 'full') return sendEncoded(reply, { media_type: JSON_TYPE, tag: map.tag, encoding, body }, keep);
    reply.header('link', `<${layoutPath(entry.event.event_id, map.layout.id, show_time)}>; rel="describedby"`);
    return sendEncoded(reply, { media_type: COMPACT_TYPE, tag: `${map.tag}-compact`, encoding, body }, keep);
  }

  api.get(
    '/events/:event_id/seats',
    {
      config: { access: 'public' },
      links: {
        200: {
          HoldTheFirst: {
            operationId: 'createReservation',
            requestBody: { event_id: '$request.path.event_id', seat_ids: ['$response.body#/0/seat_id'] },
          },
        },
      },
      schema: {
        operationId: 'getSeats',
        summary: 'The seat map',
        tags: ['seats'],
        params: EventParams,
        querystring: SeatsQuery,
        response: {
          200: {
            description: 'The seats, or with `format=compact` their statuses alone',
            headers: MAP_HEADERS,
            content: {
              'application/json': { schema: Type.Array(Seat) },
              [COMPACT_TYPE]: { schema: Type.String({ format: 'binary' }) },
            },
          },
          304: withHeaders(Type.Null({ description: 'The map is the one that you have' }), MAP_HEADERS),
          ...refusals(400, 404, 503),
        },
      },
    },
    async ({ params, query }, reply) => {
      const entry = await requireEvent(catalog, params.event_id);
      const map = await seatMaps.get(entry, requireShow(entry, query.show_time));
      return sendMap(reply, entry, map, query);
    },
  );

  api.get(
    '/events/:event_id/seats/layouts/:layout_id',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getLayout',
        summary: 'The seats without their statuses: the same for ever under this URL',
        tags: ['seats'],
        params: Type.Object({ ...EventParams.properties, layout_id: Id }),
        querystring: ShowQuery,
        response: {
          200: withHeaders(Type.Array(Type.Omit(Seat, ['status'])), VALIDATED),
          304: withHeaders(Type.Null({ description: 'The layout is the one that you have' }), VALIDATED),
          ...refusals(400, 404, 503),
        },
      },
    },
    async ({ params, query, headers }, reply) => {
      const entry = await requireEvent(catalog, params.event_id);
      const layout = entry.layouts.get(requireShow(entry, query.show_time));
      if (layout?.id !== params.layout_id) {
        throw new Problem('LAYOUT_NOT_FOUND', 'The seats are laid out anew: read the map again.');
      }
      const encoding = negotiate(headers['accept-encoding']);
      const body = await layouts.forceFetch(`${layout.id} ${encoding}`, { context: { layout, encoding } });
      reply.header('cache-control', 'public, max-age=31536000, immutable');
      return sendEncoded(reply, { media_type: JSON_TYPE, tag: params.layout_id, encoding, body });
    },
  );
}
