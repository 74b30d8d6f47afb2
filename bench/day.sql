-- One day of ordinary work on the database of production.sql: psql -v scale=1 -v day=1 -f day.sql
-- About 1 % more in what only grows, 1 % of the orders move on, stock is counted, a few members and items change,
-- a few orders go.
\set ON_ERROR_STOP on
SET synchronous_commit = off;

INSERT INTO journal.requests (at, path, seen)
SELECT timestamptz '2026-06-10 00:00+00' + :day * interval '1 day' + n * interval '15 seconds',
       (ARRAY['/', '/items', '/items/one', '/cart', '/orders', '/members/me', '/search'])[1 + (n + :day) % 7],
       jsonb_build_object('member', (n * 13::bigint + :day * 7) % (70000 * :scale), 'from', '10.' || n % 250 || '.' || :day || '.9',
                          'status', (ARRAY[200, 200, 200, 304, 404])[1 + n % 5], 'ms', (n * 31 + :day) % 700,
                          'agent', 'Mozilla/5.0 (X11; Linux x86_64) Shop/' || n % 60, 'trace', md5('day' || :day || '/' || n))
  FROM generate_series(1, 5600 * :scale) AS n;

WITH placed AS (
    INSERT INTO shop.orders (member_id, state, placed_at, note)
    SELECT 1 + (n * 6151::bigint + :day * 11) % (70000 * :scale), 'open',
           timestamptz '2026-06-10 00:00+00' + :day * interval '1 day' + n * interval '30 seconds',
           CASE WHEN n % 5 = 0 THEN 'Please ring at ' || md5('day' || :day || 'note' || n) END
      FROM generate_series(1, 2500 * :scale) AS n
    RETURNING id
)
INSERT INTO shop.order_lines
SELECT id, line, 1 + (id * 104729 + line) % (12000 * :scale), 1 + id % 7, 1 + (id * 31 + line) % 90000 / 100.0
  FROM placed, generate_series(1, 2) AS line;

-- Young orders move on far more often than old ones.
UPDATE shop.orders SET state = 'sent'
 WHERE id IN (SELECT 250000 * :scale - (n * n * 7::bigint + :day * 13) % (50000 * :scale) FROM generate_series(1, 2300 * :scale) AS n)
    OR id IN (SELECT 1 + (n * 7907::bigint + :day * 101) % (250000 * :scale) FROM generate_series(1, 200 * :scale) AS n);
UPDATE shop.stock SET amount = amount + 1, counted_at = timestamptz '2026-06-10 00:00+00' + :day * interval '1 day'
 WHERE item_id % 100 = :day % 100;
UPDATE shop.members SET profile = profile || jsonb_build_object('points', :day * 10)
 WHERE id IN (SELECT 70000 * :scale - (n * n * 3::bigint + :day) % (9000 * :scale) FROM generate_series(1, 300 * :scale) AS n);
UPDATE shop.items SET about = coalesce(about, '') || ' Seen on day ' || :day || '.' WHERE id % 1000 = :day;
DELETE FROM shop.orders WHERE id % 25000 = :day;
