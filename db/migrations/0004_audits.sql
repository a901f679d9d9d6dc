-- Up Migration

-- The last audit of each event.
CREATE TABLE audits (
  event_id      varchar(64) PRIMARY KEY REFERENCES events ON DELETE CASCADE,
  audited_at    timestamptz NOT NULL,
  faults        jsonb       NOT NULL,           -- how many of each kind
  locks_deleted bigint      NOT NULL DEFAULT 0  -- stale ones, by all audits of the event
);

ALTER TABLE reservations ADD COLUMN healed_at timestamptz; -- when an audit ended it in its workflow's stead
CREATE INDEX reservations_healed ON reservations (status) WHERE healed_at IS NOT NULL;

CREATE INDEX reservations_event ON reservations (event_id);
CREATE INDEX bookings_pending ON bookings (reservation_id) WHERE status = 'PENDING';
