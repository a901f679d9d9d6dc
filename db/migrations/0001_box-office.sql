-- Up Migration

-- Columns beyond those that describe the thing itself have defaults, so that an import may leave them out.
CREATE TABLE events (
  event_id    varchar(64)   PRIMARY KEY,
  name        varchar(200)  NOT NULL,
  venue       varchar(200)  NOT NULL DEFAULT '',
  date        timestamptz(3) NOT NULL,
  show_times  timestamptz(3)[] NOT NULL DEFAULT '{}', -- empty: one show, at `date`
  currency    char(3)       NOT NULL DEFAULT 'EUR',
  seats_total integer       NOT NULL DEFAULT 0,
  layout_version    integer  NOT NULL DEFAULT 0,     -- rises when a seat is added, moved, priced anew or removed
  layout_changed_by bigint
);
CREATE INDEX events_date ON events (date, event_id);

CREATE TABLE seats (
  seat_id        varchar(64) PRIMARY KEY,
  event_id       varchar(64) NOT NULL REFERENCES events,
  show_time      timestamptz(3),                     -- null: the event's only show
  section        varchar(64) NOT NULL DEFAULT '',
  "row"          varchar(16) NOT NULL DEFAULT '',
  number         integer     NOT NULL DEFAULT 0,
  x              integer     NOT NULL DEFAULT 0,
  y              integer     NOT NULL DEFAULT 0,
  price          integer     NOT NULL DEFAULT 0 CHECK (price >= 0),
  status         varchar(16) NOT NULL DEFAULT 'AVAILABLE' CHECK (status IN ('AVAILABLE', 'HELD', 'BOOKED')),
  reservation_id varchar(64),                        -- null and not AVAILABLE: kept back by the house
  fence          bigint      NOT NULL DEFAULT 0,
  CHECK (status <> 'AVAILABLE' OR reservation_id IS NULL)
);
CREATE INDEX seats_event_status ON seats (event_id, status);

-- No foreign key to events: its row lock on one hot event row would be shared by every hold of the sale. The hold
-- statement takes the event from the seats, which have one.
CREATE TABLE reservations (
  reservation_id varchar(64)   PRIMARY KEY,
  event_id       varchar(64)   NOT NULL,
  user_id        varchar(64)   NOT NULL,
  seat_ids       varchar(64)[] NOT NULL,
  price          integer       NOT NULL,
  currency       char(3)       NOT NULL,
  status         varchar(16)   NOT NULL CHECK (status IN ('HELD', 'CONFIRMED', 'RELEASED', 'EXPIRED', 'REFUSED')),
  fence          bigint        NOT NULL,
  created_at     timestamptz   NOT NULL,
  expires_at     timestamptz   NOT NULL,
  release_at     timestamptz                         -- when anybody may free the seats; null while a payment is under way
);
CREATE INDEX reservations_due ON reservations (event_id, release_at) WHERE status = 'HELD';

CREATE TABLE bookings (
  booking_id     varchar(64) PRIMARY KEY,
  reservation_id varchar(64) REFERENCES reservations,
  user_id        varchar(64) NOT NULL,
  price          integer     NOT NULL,
  currency       char(3)     NOT NULL DEFAULT 'EUR',
  status         varchar(16) NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'FAILED')),
  failure_code   varchar(64),
  failure_detail text,
  created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bookings_reservation ON bookings (reservation_id);
-- A reservation is paid for at most once, whatever the workflow does.
CREATE UNIQUE INDEX bookings_one_live ON bookings (reservation_id) WHERE status <> 'FAILED';

CREATE TABLE idempotency_keys (
  scope            varchar(200) NOT NULL,
  key              varchar(255) NOT NULL,
  request_hash     bytea        NOT NULL,
  response_status  integer,
  response_headers json,
  response_body    json,
  created_at       timestamptz  NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- The constraint that makes a double hold impossible, even by a statement that forgets its guard.
CREATE FUNCTION refuse_seat_takeover() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'seat % is % by %', OLD.seat_id, OLD.status, COALESCE(OLD.reservation_id, 'the house')
    USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'seats_one_owner';
END $$;
CREATE TRIGGER seats_one_owner BEFORE UPDATE ON seats FOR EACH ROW
  WHEN ((OLD.status <> 'AVAILABLE' AND NEW.reservation_id IS NOT NULL
         AND NEW.reservation_id IS DISTINCT FROM OLD.reservation_id)
        OR NEW.fence < OLD.fence)
  EXECUTE FUNCTION refuse_seat_takeover();

CREATE FUNCTION count_seats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE events SET seats_total = seats_total + changed.seats, layout_version = layout_version + 1
  FROM (SELECT event_id, CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END AS seats
        FROM changed_seats GROUP BY event_id) AS changed
  WHERE events.event_id = changed.event_id;
  RETURN NULL;
END $$;
CREATE TRIGGER seats_counted_in AFTER INSERT ON seats
  REFERENCING NEW TABLE AS changed_seats FOR EACH STATEMENT EXECUTE FUNCTION count_seats();
CREATE TRIGGER seats_counted_out AFTER DELETE ON seats
  REFERENCING OLD TABLE AS changed_seats FOR EACH STATEMENT EXECUTE FUNCTION count_seats();

-- Once a transaction, however many seats it moves: one event row, not 50,000 versions of it.
CREATE FUNCTION note_new_layout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE events SET layout_version = layout_version + 1, layout_changed_by = txid_current()
  WHERE event_id = NEW.event_id AND layout_changed_by IS DISTINCT FROM txid_current();
  RETURN NULL;
END $$;
CREATE TRIGGER seats_moved AFTER UPDATE OF show_time, section, "row", number, x, y, price ON seats
  FOR EACH ROW EXECUTE FUNCTION note_new_layout();

CREATE FUNCTION note_new_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.layout_version := OLD.layout_version + 1;
  RETURN NEW;
END $$;
CREATE TRIGGER events_changed BEFORE UPDATE OF currency, date, show_times ON events
  FOR EACH ROW EXECUTE FUNCTION note_new_event();
