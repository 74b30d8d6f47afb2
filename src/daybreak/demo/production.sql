-- Production of the demo: a tea house with a shop and a community. psql variable: scale (1 is about 250 MB).
-- The same on every load: nothing here depends on the clock or on chance. Lines of \echo say what is being made.
\getenv password DEMO_PASSWORD
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET maintenance_work_mem = '128MB';

-- roles: who owns, who works with it, who dumps it; the last one reads all and changes nothing ------------------
\echo roles and the database
CREATE ROLE teahouse NOLOGIN;
CREATE ROLE teahouse_app LOGIN;
CREATE ROLE daybreak LOGIN PASSWORD :'password' IN ROLE needs_password, pg_read_all_data, teahouse;
CREATE DATABASE teahouse OWNER teahouse TEMPLATE template0 ENCODING 'UTF8';
COMMENT ON DATABASE teahouse IS 'The tea house: production';
ALTER DATABASE teahouse SET "teahouse.environment" = 'production';
\connect teahouse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET maintenance_work_mem = '128MB';
SET max_parallel_maintenance_workers = 1;
SET jit = off;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION citext;
CREATE EXTENSION hstore;
SET ROLE teahouse;

CREATE SCHEMA shop;
CREATE SCHEMA community;
CREATE SCHEMA media;
CREATE SCHEMA audit;
CREATE SCHEMA "Größe & ""Maß"" ☕";
GRANT USAGE ON SCHEMA shop, community TO teahouse_app;

CREATE TYPE shop.state AS ENUM ('new', 'paid', 'sent', 'returned');
CREATE DOMAIN shop.percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);

-- sentences to make texts of ------------------------------------------------------------------------------
CREATE TEMPORARY TABLE sentence AS
SELECT n AS k, format('%s %s %s %s %s, %s %s.',
    (ARRAY['The', 'This', 'My', 'Your', 'Every', 'No', 'Some'])[1 + n % 7],
    (ARRAY['green', 'black', 'white', 'smoked', 'rolled', 'aged', 'roasted', 'young', 'wild', 'first'])[1 + n / 7 % 10],
    (ARRAY['oolong', 'sencha', 'assam', 'pu-erh', 'darjeeling', 'genmaicha', 'matcha', 'rooibos', 'keemun'])[1 + n / 3 % 9],
    (ARRAY['tastes of', 'reminds me of', 'goes well with', 'is better than', 'wants', 'hides'])[1 + n / 11 % 6],
    (ARRAY['chestnuts', 'rain', 'honey', 'old books', 'orchids', 'smoke', 'apricots', 'the sea'])[1 + n / 5 % 8],
    (ARRAY['and yet', 'so', 'they say', 'in winter', 'at 80 °C', 'naïvely'])[1 + n / 13 % 6],
    (ARRAY['I would buy it again', 'nobody minds', 'the second cup is best', 'do not let it stand', 'ask the 猫'])[1 + n / 17 % 5]
) AS text
FROM generate_series(0, 996) AS n;
CREATE UNIQUE INDEX ON sentence (k);
ANALYZE sentence;

-- people: identity, generated column, citext, hstore, arrays ------------------------------------------------
\echo customers
CREATE TABLE shop.customer (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 1000) PRIMARY KEY,
    email citext NOT NULL,
    name text NOT NULL,
    initials text GENERATED ALWAYS AS (upper(left(name, 1))) STORED,
    discount shop.percent NOT NULL DEFAULT 0,
    tags text[],
    preferences hstore,
    password_hash bytea,
    joined_at timestamptz NOT NULL
);
INSERT INTO shop.customer (email, name, discount, tags, preferences, password_hash, joined_at)
SELECT format('guest%s@example.org', n), initcap(left(s.text, 4 + n % 30)) || ' ' || n, n % 40,
       CASE WHEN n % 3 = 0 THEN ARRAY['regular', NULL, 'level ' || n % 9] END,
       hstore('temperature', (60 + n % 40)::text) || hstore('milk', CASE WHEN n % 2 = 0 THEN 'no' END),
       digest(n::text, 'sha256'), '2021-03-01 08:00:00+00'::timestamptz + n * interval '41 minutes'
FROM generate_series(1, (40000 * :scale)::int) AS n JOIN sentence AS s ON s.k = n % 997;
CREATE UNIQUE INDEX customer_email ON shop.customer (email);
CREATE INDEX customer_name_trgm ON shop.customer USING gin (name gin_trgm_ops);
COMMENT ON TABLE shop.customer IS 'People who buy; é ☕ ''quoted''';

-- things: jsonb, text search; a self reference ----------------------------------------------------------------
\echo products
CREATE TABLE shop.category (id int PRIMARY KEY, parent_id int REFERENCES shop.category, title text NOT NULL);
INSERT INTO shop.category SELECT n, CASE WHEN n > 1 THEN n / 2 END, 'Shelf ' || n FROM generate_series(1, 60) AS n;
CREATE TABLE shop.product (
    id serial PRIMARY KEY,
    category_id int NOT NULL REFERENCES shop.category,
    title text NOT NULL,
    price numeric(10, 2) NOT NULL,
    facts jsonb NOT NULL,
    words tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED
);
INSERT INTO shop.product (category_id, title, price, facts)
SELECT 1 + n % 60, s.text, 3 + n % 97 + 0.95,
       jsonb_build_object('harvest', 2015 + n % 11, 'grams', ARRAY[50, 100, 250], 'origin', jsonb_build_object('hill', n % 13, 'é', '☃'), 'organic', n % 2 = 0)
FROM generate_series(1, (4000 * sqrt(:scale))::int) AS n JOIN sentence AS s ON s.k = n % 997;
CREATE INDEX product_facts ON shop.product USING gin (facts jsonb_path_ops);
CREATE INDEX product_words ON shop.product USING gin (words);

-- orders: by month, with a default; their lines -------------------------------------------------------------------
\echo orders
CREATE TABLE shop.orders (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    placed_on date NOT NULL,
    customer_id bigint NOT NULL,
    state shop.state NOT NULL DEFAULT 'new',
    total numeric(12, 2) NOT NULL,
    note text,
    PRIMARY KEY (id, placed_on)
) PARTITION BY RANGE (placed_on);
SELECT format('CREATE TABLE shop.%I PARTITION OF shop.orders FOR VALUES FROM (%L) TO (%L)',
              'orders_' || to_char(month, 'YYYY_MM'), month::date, (month + interval '1 month')::date)
FROM generate_series('2025-01-01'::timestamp, '2025-12-01', interval '1 month') AS month \gexec
CREATE TABLE shop.orders_other PARTITION OF shop.orders DEFAULT;
INSERT INTO shop.orders (placed_on, customer_id, state, total, note)
SELECT '2025-01-01'::date + (n / (900 * :scale) - 0.5)::int % 365, 1000 + (n * 7919::bigint) % (40000 * :scale)::int,
       (ARRAY['sent', 'sent', 'paid', 'returned', 'new'])[1 + n % 5]::shop.state, 4 + n % 173 + (n % 100) / 100.0,
       CASE n % 9 WHEN 0 THEN E'two lines,\na tab\tand a \\' WHEN 1 THEN '' END
FROM generate_series(1, (320000 * :scale)::int) AS n;
CREATE INDEX orders_customer ON shop.orders (customer_id);
\echo order lines
CREATE TABLE shop.order_line (
    order_id bigint NOT NULL, line smallint NOT NULL, product_id int NOT NULL, grams int NOT NULL, price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
INSERT INTO shop.order_line
SELECT o, line, 1 + (o * 31 + line * 7) % (4000 * sqrt(:scale))::int, (ARRAY[50, 100, 250])[1 + (o + line) % 3], 3 + (o * line) % 60 + 0.95
FROM generate_series(1, (320000 * :scale)::int) AS o, generate_series(1, 2) AS line;
ALTER TABLE shop.order_line ADD FOREIGN KEY (product_id) REFERENCES shop.product;

-- the community: long texts, reactions on hash partitions -----------------------------------------------------------------
\echo posts
CREATE TABLE community.thread (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL, posts int NOT NULL DEFAULT 0);
INSERT INTO community.thread (title) SELECT format('%s (%s)', s.text, n)
FROM generate_series(1, (6000 * :scale)::int) AS n JOIN sentence AS s ON s.k = (n * 7) % 997;
CREATE TABLE community.post (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    thread_id int NOT NULL REFERENCES community.thread ON DELETE CASCADE,
    author_id bigint NOT NULL REFERENCES shop.customer,
    body text NOT NULL,
    at timestamptz NOT NULL
);
INSERT INTO community.post (thread_id, author_id, body, at)
SELECT 1 + (n * 13::bigint) % (6000 * :scale)::int, 1000 + (n * 17::bigint) % (40000 * :scale)::int,
       concat_ws(E'\n', a.text, 'Lot ' || md5(n::text), b.text, CASE WHEN n % 3 = 0 THEN c.text || ' 🍵' END, CASE WHEN n % 4 = 0 THEN md5((-n)::text) END),
       '2025-01-01 06:00:00+00'::timestamptz + n * interval '2 minutes 11 seconds'
FROM generate_series(1, (200000 * :scale)::int) AS n
JOIN sentence AS a ON a.k = n % 997 JOIN sentence AS b ON b.k = (n / 997 * 5 + n * 3) % 997 JOIN sentence AS c ON c.k = (n / 31) % 997;
CREATE INDEX post_thread ON community.post (thread_id, at);
CREATE TYPE community.mood AS ENUM ('♥', 'thanks', 'no');
CREATE TABLE community.reaction (post_id bigint NOT NULL, customer_id bigint NOT NULL, mood community.mood NOT NULL) PARTITION BY HASH (post_id);
CREATE TABLE community.reaction_0 PARTITION OF community.reaction FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE community.reaction_1 PARTITION OF community.reaction FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE community.reaction_2 PARTITION OF community.reaction FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO community.reaction
SELECT 1 + n % (200000 * :scale)::int, 1000 + (n * 11::bigint) % (40000 * :scale)::int, (ARRAY['♥', '♥', 'thanks', 'no'])[1 + n % 4]::community.mood
FROM generate_series(1, (250000 * :scale)::int) AS n;

-- pictures as bytea, scans as large objects ----------------------------------------------------------------------------
\echo pictures and large objects
CREATE TABLE media.picture (id int PRIMARY KEY, product_id int REFERENCES shop.product, kind text NOT NULL, bytes bytea NOT NULL);
INSERT INTO media.picture
SELECT n, 1 + n % (4000 * sqrt(:scale))::int, 'image/jpeg', (SELECT string_agg(digest(n || '/' || part, 'sha512'), ''::bytea) FROM generate_series(1, 40 + n % 170) AS part)
FROM generate_series(1, (2400 * :scale)::int) AS n;
CREATE TABLE media.scan (id int PRIMARY KEY, title text, content oid NOT NULL);
INSERT INTO media.scan
SELECT n, 'invoice ' || n, lo_from_bytea(70000 + n, (SELECT string_agg(digest('scan' || n || '/' || part, 'sha512'), ''::bytea) FROM generate_series(1, 300 + n * 53 % 2500) AS part))
FROM generate_series(1, (60 * :scale)::int + 2) AS n;

-- odd names, INHERITS with a column that the parent got later, values that are hard to print ------------------------------------
\echo odd names
CREATE TABLE "Größe & ""Maß"" ☕"."Tasse mit ""Henkel"", 2 dl. und Deckel" ("Nr. 1" int PRIMARY KEY, "naïve.col" text, "SELECT" text DEFAULT 'it''s', "🍵" boolean);
INSERT INTO "Größe & ""Maß"" ☕"."Tasse mit ""Henkel"", 2 dl. und Deckel" SELECT n, E'\\N', 'it''s ' || n, n % 2 = 0 FROM generate_series(1, 400) AS n;
CREATE TABLE public."user" (id int PRIMARY KEY, "group" text);
INSERT INTO public."user" VALUES (1, 'a'), (2, E'b\\c'), (3, NULL);
CREATE TABLE audit.vessel (id int, volume real);
CREATE TABLE audit.pot (lid boolean) INHERITS (audit.vessel);
INSERT INTO audit.vessel SELECT n, n / 3.0 FROM generate_series(1, 200) AS n;
INSERT INTO audit.pot SELECT n, 'NaN', n % 2 = 0 FROM generate_series(201, 400) AS n;
ALTER TABLE audit.vessel ADD COLUMN glaze text DEFAULT 'none';
CREATE TABLE public.empty (id int, note text);

-- sequences, views, a materialized one, triggers ---------------------------------------------------------------------------------
\echo views and triggers
CREATE SEQUENCE shop.invoice_number AS int START 5001 INCREMENT 2;
SELECT nextval('shop.invoice_number') FROM generate_series(1, 321) \g /dev/null
CREATE VIEW shop.open_order AS SELECT * FROM shop.orders WHERE state IN ('new', 'paid');
CREATE MATERIALIZED VIEW shop.revenue AS
SELECT date_trunc('month', placed_on)::date AS month, state, count(*) AS orders, sum(total) AS total FROM shop.orders GROUP BY 1, 2;
CREATE UNIQUE INDEX revenue_key ON shop.revenue (month, state);
CREATE TABLE audit.change (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_name text NOT NULL, old jsonb, new jsonb);
CREATE FUNCTION audit.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.change (table_name, old, new) VALUES (TG_TABLE_NAME, to_jsonb(OLD), to_jsonb(NEW));
    RETURN NEW;
END $$;
CREATE TRIGGER product_change AFTER UPDATE ON shop.product FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION audit.note_change();
CREATE FUNCTION community.count_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE community.thread SET posts = posts + 1 WHERE id = NEW.thread_id;
    RETURN NULL;
END $$;
CREATE TRIGGER post_count AFTER INSERT ON community.post FOR EACH ROW EXECUTE FUNCTION community.count_post();
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA shop, community TO teahouse_app;
RESET ROLE;
\echo statistics
VACUUM (ANALYZE, FREEZE);
