import { LRUCache } from 'lru-cache';
import { Type, type Static } from 'typebox';
import { Event } from '../../domain/model.ts';
import { CACHED, withHeaders } from '../openapi.ts';
import { EventParams, requireEvent, type Api, type ApiDependencies } from '../http.ts';
import { Problem, refusals } from '../problems.ts';
import type { EventFilter } from '../queries.ts';
import { STALE_IF_ERROR, patience } from '../stale-if-error.ts';

const When = Type.Union([Type.String({ format: 'date-time' }), Type.String({ format: 'date' })], {
  description: 'RFC 3339: a date and time, or a date, which is that whole day in UTC',
});

const EventsQuery = Type.Object(
  {
    from: Type.Optional(When),
    to: Type.Optional(When),
    q: Type.Optional(
      Type.String({
        maxLength: 100,
        pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$',
        description: 'Part of a name or venue',
      }),
    ),
    limit: Type.Integer({ minimum: 1, maximum: 100, default: 20 }),
    cursor: Type.Optional(Type.String({ maxLength: 300, description: '`next_cursor` of the page before' })),
  },
  { additionalProperties: false },
);

const EventPage = Type.Object({ events: Type.Array(Event), next_cursor: Type.Union([Type.String(), Type.Null()]) });

const DAY = /^\d{4}-\d{2}-\d{2}$/;

const startOf = (time: string | undefined) => (time === undefined ? undefined : new Date(time));
const endOf = (time: string | undefined) =>
  startOf(time !== undefined && DAY.test(time) ? `${time}T23:59:59.999Z` : time);

const toCursor = ({ date, event_id }: Event) => Buffer.from(`${date} ${event_id}`).toString('base64url');

/** Pages that go on while PostgreSQL is away, each about 10 KB. */
const PAGES_REMEMBERED = 500;
/** A page of before goes on when PostgreSQL does not answer within this. */
const PATIENCE_MS = 1_000;

/** What an event is changes seldom: a few seconds in a shared cache. */
const CACHE_CONTROL = 'public, max-age=0, s-maxage=5, stale-while-revalidate=5';

/** @throws Problem INVALID_REQUEST for what this API did not give out */
function fromCursor(cursor: string): { date: Date; event_id: string } {
  const [date = '', event_id = ''] = Buffer.from(cursor, 'base64url').toString().split(' ');
  const time = new Date(date);
  const isOurs = /^\d{4}-/.test(date) && !Number.isNaN(time.getTime()) && time.toISOString() === date;
  if (isOurs && /^[!-~]{1,64}$/.test(event_id)) return { date: time, event_id };
  const detail = 'must be a next_cursor that this API gave out';
  throw new Problem('INVALID_REQUEST', `cursor ${detail}`, { errors: [{ path: 'cursor', detail }] });
}

export async function eventRoutes(api: Api, { queries, catalog }: ApiDependencies): Promise<void> {
  const pages = new LRUCache<string, Static<typeof EventPage>, EventFilter>({
    max: PAGES_REMEMBERED,
    ...STALE_IF_ERROR,
    fetchMethod: async (_key, _before, { context: filter }) => {
      const found = await queries.findEvents({ ...filter, limit: filter.limit + 1 });
      const events = found.slice(0, filter.limit);
      const last = events.at(-1);
      return { events, next_cursor: last && found.length > filter.limit ? toCursor(last) : null };
    },
  });

  api.get(
    '/events',
    {
      config: { access: 'public' },
      links: {
        200: {
          TheNextPage: { operationId: 'listEvents', parameters: { cursor: '$response.body#/next_cursor' } },
          TheFirstEvent: { operationId: 'getEvent', parameters: { event_id: '$response.body#/events/0/event_id' } },
        },
      },
      schema: {
        operationId: 'listEvents',
        summary: 'Events by date',
        tags: ['events'],
        querystring: EventsQuery,
        response: { 200: withHeaders(EventPage, CACHED), ...refusals(400, 503) },
      },
    },
    async ({ query: { from, to, q, limit, cursor } }, reply) => {
      const after = cursor === undefined ? undefined : fromCursor(cursor);
      const filter = { from: startOf(from), to: endOf(to), text: q, after, limit };
      const key = JSON.stringify(filter);
      const page = await pages.fetch(key, {
        context: filter,
        forceRefresh: true,
        ...patience(pages, key, PATIENCE_MS),
      });
      if (!page) throw new Error('every page is read');
      reply.header('cache-control', CACHE_CONTROL);
      return page;
    },
  );

  api.get(
    '/events/:event_id',
    {
      config: { access: 'public' },
      links: {
        200: { ItsSeats: { operationId: 'getSeats', parameters: { event_id: '$response.body#/event_id' } } },
      },
      schema: {
        operationId: 'getEvent',
        summary: 'One event',
        tags: ['events'],
        params: EventParams,
        response: { 200: withHeaders(Event, CACHED), ...refusals(400, 404, 503) },
      },
    },
    async ({ params }, reply) => {
      const { event } = await requireEvent(catalog, params.event_id);
      reply.header('cache-control', CACHE_CONTROL);
      return event;
    },
  );
}
