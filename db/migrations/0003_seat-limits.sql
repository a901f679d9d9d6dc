-- Up Migration

-- Null: a user may have as many seats of the event as there are.
ALTER TABLE events ADD COLUMN seats_per_user integer CHECK (seats_per_user > 0);

CREATE INDEX reservations_of_user ON reservations (event_id, user_id) WHERE status IN ('HELD', 'CONFIRMED');

-- The seats that a user has of an event, held and booked together. Until the transaction ends no other one gets an answer
-- for the same user and event: a count that two could take at once would let both pass. It has to be VOLATILE: each
-- statement in it then sees what was committed while it waited, where the statement that calls it sees what was before.
CREATE FUNCTION count_seats_of_user(of_event varchar, of_user varchar) RETURNS bigint VOLATILE LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(of_event || ' ' || of_user, 0));
  RETURN (SELECT coalesce(sum(cardinality(seat_ids)), 0) FROM reservations
          WHERE event_id = of_event AND user_id = of_user AND status IN ('HELD', 'CONFIRMED'));
END $$;
