-- Up Migration

-- Counted over all events: one that is deleted and imported again under its id has a version that nobody knows it by.
CREATE SEQUENCE layout_versions AS integer;

CREATE OR REPLACE FUNCTION count_seats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE events SET seats_total = seats_total + changed.seats, layout_version = nextval('layout_versions')
  FROM (SELECT event_id, CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END AS seats
        FROM changed_seats GROUP BY event_id) AS changed
  WHERE events.event_id = changed.event_id;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION note_new_layout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE events SET layout_version = nextval('layout_versions'), layout_changed_by = txid_current()
  WHERE event_id IN (OLD.event_id, NEW.event_id) AND layout_changed_by IS DISTINCT FROM txid_current();
  RETURN NULL;
END $$;
DROP TRIGGER seats_moved ON seats;
CREATE TRIGGER seats_moved AFTER UPDATE OF seat_id, event_id, show_time, section, "row", number, x, y, price ON seats
  FOR EACH ROW EXECUTE FUNCTION note_new_layout();

-- Comes after the trigger of each row, by which this transaction has noted, and locked, the events in question. Not with
-- the moved seats as a table: such a trigger has no list of columns, and every hold would fire it.
CREATE FUNCTION recount_seats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE events SET seats_total = (SELECT count(*) FROM seats WHERE seats.event_id = events.event_id)
  WHERE layout_changed_by = txid_current();
  RETURN NULL;
END $$;
CREATE TRIGGER seats_recounted AFTER UPDATE OF event_id ON seats
  FOR EACH STATEMENT EXECUTE FUNCTION recount_seats();

CREATE OR REPLACE FUNCTION note_new_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.layout_version := nextval('layout_versions');
  RETURN NEW;
END $$;

-- Locks the events, so that no version is given out in the old way after the highest is known.
ALTER TABLE events ALTER COLUMN layout_version SET DEFAULT nextval('layout_versions');
SELECT setval('layout_versions', (SELECT coalesce(max(layout_version), 0) + 1 FROM events));
