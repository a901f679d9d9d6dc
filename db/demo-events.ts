import type { ClientBase } from 'pg';

interface Section {
  name: string;
  rows: number;
  seatsPerRow: number;
  price: number;
  x: number;
  y: number;
}

interface DemoEvent {
  event_id: string;
  name: string;
  venue: string;
  days_ahead: number;
  sections: Section[];
}

/** A theatre of 1,200 seats: stalls, circle and balcony, one behind the other. */
const theatre: DemoEvent = {
  event_id: 'demo-theatre',
  name: 'The Tempest',
  venue: 'Harbour Theatre',
  days_ahead: 30,
  sections: [
    { name: 'stalls', rows: 20, seatsPerRow: 30, price: 8_500, x: 0, y: 0 },
    { name: 'circle', rows: 12, seatsPerRow: 30, price: 6_000, x: 0, y: 25 },
    { name: 'balcony', rows: 8, seatsPerRow: 30, price: 3_500, x: 0, y: 42 },
  ],
};

/** A stadium of 50,000 seats: twenty blocks of 2,500, in two rings around the pitch. */
const stadium: DemoEvent = {
  event_id: 'demo-stadium',
  name: 'Northern Lights Tour',
  venue: 'Meridian Stadium',
  days_ahead: 60,
  sections: Array.from({ length: 20 }, (_, block) => ({
    name: `block-${block + 1}`,
    rows: 50,
    seatsPerRow: 50,
    price: block < 10 ? 12_000 : 7_500,
    x: (block % 10) * 55,
    y: block < 10 ? 0 : 55,
  })),
};

/** Adds the demo events, each with one show and seat ids that are the same on every run. A repeat changes nothing. */
export async function seedDemoEvents(client: ClientBase): Promise<void> {
  for (const event of [theatre, stadium]) {
    await client.query('BEGIN');
    const { rowCount } = await client.query(
      `INSERT INTO events (event_id, name, venue, date, currency)
       VALUES ($1, $2, $3, date_trunc('day', now()) + make_interval(days => $4, hours => 19), 'EUR')
       ON CONFLICT DO NOTHING`,
      [event.event_id, event.name, event.venue, event.days_ahead],
    );
    for (const section of rowCount === 1 ? event.sections : []) {
      await client.query(
        `INSERT INTO seats (seat_id, event_id, section, "row", number, x, y, price)
         SELECT concat_ws('-', $1::text, $2::text, r, n), $1, $2, r, n, $6 + n - 1, $7 + r - 1, $5
         FROM generate_series(1, $3::int) AS r, generate_series(1, $4::int) AS n`,
        [event.event_id, section.name, section.rows, section.seatsPerRow, section.price, section.x, section.y],
      );
    }
    await client.query('COMMIT');
  }
  await client.query('ANALYZE events, seats'); // before anybody plans by what was there before
}
