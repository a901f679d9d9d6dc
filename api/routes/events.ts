import { Type } from 'typebox';
import { Event } from '../../domain/model.ts';
import { EventParams, requireEvent, type Api, type ApiDependencies } from '../http.ts';
import { Problem, refusals } from '../problems.ts';

const When = Type.Union([Type.String({ format: 'date-time' }), Type.String({ format: 'date' })], {
  description: 'RFC 3339: a date, or a date and time',
});

const EventsQuery = Type.Object(
  {
    from: Type.Optional(When),
    to: Type.Optional(When),
    q: Type.Optional(Type.String({ maxLength: 100, pattern: '^\\P{Cc}*$', description: 'Part of a name or venue' })),
    limit: Type.Integer({ minimum: 1, maximum: 100, default: 20 }),
    cursor: Type.Optional(Type.String({ maxLength: 300, description: '`next_cursor` of the page before' })),
  },
  { additionalProperties: false },
);

const EventPage = Type.Object({ events: Type.Array(Event), next_cursor: Type.Union([Type.String(), Type.Null()]) });

const toCursor = ({ date, event_id }: Event) => Buffer.from(`${date} ${event_id}`).toString('base64url');

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
  api.get(
    '/events',
    {
      config: { access: 'public' },
      schema: {
        summary: 'Events by date',
        tags: ['events'],
        querystring: EventsQuery,
        response: { 200: EventPage, ...refusals(400, 503) },
      },
    },
    async ({ query: { from, to, q, limit, cursor } }, reply) => {
      const after = cursor === undefined ? undefined : fromCursor(cursor);
      const events = await queries.findEvents({
        from: from === undefined ? undefined : new Date(from),
        to: to === undefined ? undefined : new Date(to),
        text: q,
        after,
        limit: limit + 1,
      });
      const page = events.slice(0, limit);
      const last = page.at(-1);
      reply.header('cache-control', CACHE_CONTROL);
      return { events: page, next_cursor: last && events.length > limit ? toCursor(last) : null };
    },
  );

  api.get(
    '/events/:event_id',
    {
      config: { access: 'public' },
      schema: {
        summary: 'One event',
        tags: ['events'],
        params: EventParams,
        response: { 200: Event, ...refusals(400, 404, 503) },
      },
    },
    async ({ params }, reply) => {
      const { event } = await requireEvent(catalog, params.event_id);
      reply.header('cache-control', CACHE_CONTROL);
      return event;
    },
  );
}
