-- A day in production: about one row in a hundred is new or changed, a few are gone. psql variable: scale.
-- Every ROW_COUNT that is echoed is a number of rows that changed.
\set ON_ERROR_STOP on
SET timezone = 'UTC';
SET ROLE teahouse;
INSERT INTO shop.customer (email, name, joined_at)
SELECT format('newcomer%s@example.org', n), 'New ' || n, '2025-12-31 09:00:00+00' FROM generate_series(1, (150 * :scale)::int) AS n;
\echo :ROW_COUNT
INSERT INTO shop.orders (placed_on, customer_id, total)
SELECT '2025-12-31', 1000 + (n * 101) % (40000 * :scale)::int, 9 + n % 90 FROM generate_series(1, (1600 * :scale)::int) AS n;
\echo :ROW_COUNT
INSERT INTO shop.order_line
SELECT id, line, 1 + id % 50, 100, 7.95 FROM shop.orders, generate_series(1, 2) AS line WHERE id > (320000 * :scale)::int;
\echo :ROW_COUNT
UPDATE shop.orders SET state = 'sent' WHERE placed_on >= '2025-12-01' AND state IN ('new', 'paid') AND id % 5 = 2;
\echo :ROW_COUNT
UPDATE shop.product SET price = price + 0.5 WHERE id % 100 = 7;
\echo :ROW_COUNT
INSERT INTO community.post (thread_id, author_id, body, at)
SELECT thread_id, author_id, 'Me too: ' || md5(id::text) || E'\n' || body, '2025-12-31 10:00:00+00' FROM community.post WHERE id % 100 = 3;
\echo :ROW_COUNT
UPDATE community.post SET body = body || E'\n(edited)' WHERE id % 400 = 1;
\echo :ROW_COUNT
INSERT INTO community.reaction SELECT id, author_id, '♥' FROM community.post WHERE id % 80 = 5;
\echo :ROW_COUNT
DELETE FROM community.post WHERE id % 2000 = 9;
\echo :ROW_COUNT
UPDATE shop.customer SET discount = discount + 1 WHERE id % 200 = 11;
\echo :ROW_COUNT
INSERT INTO media.scan SELECT 90000 + n, 'of today', lo_from_bytea(0, decode(repeat(md5(n::text), 900), 'hex')) FROM generate_series(1, 3) AS n;
\echo :ROW_COUNT
SELECT nextval('shop.invoice_number') \g /dev/null
REFRESH MATERIALIZED VIEW shop.revenue;
