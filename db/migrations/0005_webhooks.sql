-- Up Migration

-- By it a webhook that comes after all is over is told from a second payment.
ALTER TABLE bookings ADD COLUMN charge_id varchar(64);

CREATE TABLE webhook_events (
  event_id     varchar(64) PRIMARY KEY,
  type         varchar(64) NOT NULL,
  body         json        NOT NULL,
  received_at  timestamptz NOT NULL DEFAULT now(),
  delivered_at timestamptz,                          -- null: its reservation has not heard of it
  next_try_at  timestamptz,
  CHECK ((delivered_at IS NULL) = (next_try_at IS NOT NULL))
);
CREATE INDEX webhook_events_due ON webhook_events (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX webhook_events_received ON webhook_events (received_at);
