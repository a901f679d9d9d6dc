/** Events of a test's own, as an import by SQL would make them. */
import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';

export const SEAT_PRICE = 2_500;

/** An event in a month, with one show and these many seats. */
export async function addEvent(database: Pool, seats: number): Promise<{ event_id: string; seat_ids: string[] }> {
  const event_id = `event-${randomUUID().slice(0, 8)}`;
  await database.query(
    `INSERT INTO events (event_id, name, date) VALUES ($1, 'A concert', now() + interval '30 days')`,
    [event_id],
  );
  return { event_id, seat_ids: await addSeats(database, event_id, seats) };
}

/** An event with a show on each of two evenings, and seats for each. */
export async function addTwoShows(database: Pool, seatsPerShow: number) {
  const { event_id } = await addEvent(database, 0);
  await database.query(`UPDATE events SET show_times = ARRAY[date, date + interval '1 day'] WHERE event_id = $1`, [
    event_id,
  ]);
  const addShow = async (night: number) => {
    const seat_ids = await addSeats(database, event_id, seatsPerShow, `night-${night}`);
    const { rows } = await database.query<{ show_time: Date }>(
      `UPDATE seats SET show_time = show_times[$2] FROM events
       WHERE seat_id = ANY($1) AND events.event_id = seats.event_id RETURNING show_time`,
      [seat_ids, night],
    );
    return { time: rows[0]?.show_time.toISOString() ?? '', seat_ids };
  };
  return { event_id, first: await addShow(1), second: await addShow(2) };
}

/** More seats for an event, in one row; answers their ids in the order of the house. */
export async function addSeats(database: Pool, eventId: string, seats: number, row = 'A'): Promise<string[]> {
  const { rows } = await database.query<{ seat_id: string }>(
    `INSERT INTO seats (seat_id, event_id, "row", number, x, price, status)
     SELECT concat_ws('-', $1::text, $2::text, n), $1, $2, n, n, $4, 'AVAILABLE' FROM generate_series(1, $3::int) AS n
     RETURNING seat_id`,
    [eventId, row, seats, SEAT_PRICE],
  );
  return rows.map(({ seat_id }) => seat_id);
}
