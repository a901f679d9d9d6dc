-- Up Migration

-- The sandbox gateway's own books, as a real gateway would keep them. Only the audit compares them with the reservations.
CREATE SCHEMA sandbox_gateway;

CREATE TABLE sandbox_gateway.charges (
  charge_id       varchar(64)  PRIMARY KEY,
  idempotency_key varchar(255) NOT NULL UNIQUE,
  reservation_id  varchar(64)  NOT NULL,
  amount          integer      NOT NULL,
  currency        char(3)      NOT NULL,
  status          varchar(16)  NOT NULL CHECK (status IN ('AUTHORIZED', 'CAPTURED', 'VOIDED', 'REFUNDED', 'DECLINED')),
  decline_detail  text,
  created_at      timestamptz  NOT NULL DEFAULT now()
);
CREATE INDEX charges_reservation ON sandbox_gateway.charges (reservation_id);

-- How often a key was tried, for the tokens that fail first.
CREATE TABLE sandbox_gateway.attempts (
  idempotency_key varchar(255) PRIMARY KEY,
  attempts        integer      NOT NULL
);
