/** A page with a live seat map: an event stream as a browser reads it (HTML standard, 9.2). */
import { get, type IncomingMessage } from 'node:http';
import type { SeatChange } from '../../domain/model.ts';
import { until } from './until.ts';

interface StreamEvent {
  id: string;
  event: string;
  data: Partial<SeatChange>;
}

export type SeatViewer = Awaited<ReturnType<typeof viewSeats>>;

/** Opens the stream; resolves once the server has said from where on it tells. */
export async function viewSeats(url: string, eventId: string, lastEventId?: string, query = '') {
  const leave = new AbortController();
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    const address = `${url}/api/v1/events/${eventId}/seats/stream${query}`;
    get(address, { headers, agent: false, signal: leave.signal }, resolve).on('error', reject);
  });
  const events: StreamEvent[] = [];
  let id = lastEventId ?? '';
  let unread = '';
  response.setEncoding('utf8').on('data', (text: string) => {
    const frames = (unread + text).split('\n\n');
    unread = frames.pop() ?? '';
    for (const frame of frames) {
      const fields = new Map(frame.split('\n').map((line) => [line.split(': ', 1)[0], line.replace(/^[^:]*: /, '')]));
      id = fields.get('id') ?? id;
      const data = fields.get('data');
      if (data !== undefined) events.push({ id, event: fields.get('event') ?? 'message', data: JSON.parse(data) });
    }
  });
  const ended = new Promise<void>((resolve) => response.on('error', () => undefined).on('close', resolve));
  await until('the stream says where it starts', async () => id !== '');

  return {
    response,
    events,
    ended,
    /** Where a browser would resume. */
    lastEventId: () => id,
    /** All changes so far, as soon as there are this many: `seat_id STATUS`. */
    changes: (count: number): Promise<string[]> =>
      until(`${count} seat events`, async () => {
        const seats = events.filter(({ event }) => event === 'seat');
        return seats.length >= count && seats.map(({ data }) => `${data.seat_id} ${data.status}`);
      }),
    close: () => leave.abort(),
  };
}
