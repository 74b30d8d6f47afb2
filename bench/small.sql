-- A small production database for the campaign, of one version at any instant.
-- Every row of every table carries the version; `app.bump(n)` makes the next one in one transaction.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE SCHEMA app;

CREATE TABLE app.release (version integer NOT NULL);
INSERT INTO app.release VALUES (1);

CREATE TABLE app.notes (
    id      integer PRIMARY KEY,
    version integer NOT NULL,
    body    text NOT NULL,
    words   text[] NOT NULL
);
INSERT INTO app.notes
SELECT n, 1, (SELECT string_agg(md5(n || '.' || part), ' ') FROM generate_series(1, 12) AS part),
       ARRAY['a' || n % 97, 'b' || n % 89, 'c' || n % 83]
  FROM generate_series(1, 16000) AS n;
CREATE INDEX notes_words ON app.notes USING gin (words);
CREATE INDEX notes_body ON app.notes (md5(body));

CREATE TABLE app.events (
    id      bigint GENERATED ALWAYS AS IDENTITY,
    version integer NOT NULL,
    day     date NOT NULL,
    what    jsonb NOT NULL,
    note_id integer NOT NULL REFERENCES app.notes (id),
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
CREATE TABLE app.events_first PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE app.events_second PARTITION OF app.events FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
INSERT INTO app.events (version, day, what, note_id)
SELECT 1, date '2026-01-01' + n % 360, jsonb_build_object('trace', md5('e' || n), 'n', n), 1 + n % 16000
  FROM generate_series(1, 30000) AS n;
CREATE INDEX events_what ON app.events USING gin (what jsonb_path_ops);
SELECT lo_from_bytea(0, decode(repeat(md5('paper' || n), 2000), 'hex')) FROM generate_series(1, 5) AS n \g /dev/null

CREATE PROCEDURE app.bump(next integer) LANGUAGE sql AS $$
    UPDATE app.release SET version = next;
    UPDATE app.notes SET version = next, body = md5(id || ' ' || next) || substr(body, 33);
    UPDATE app.events SET version = next WHERE id % 10 = next % 10;
$$;
ANALYZE;
