-- Every table with its rows and a sum of the rows' hashes, whatever the order of the rows; then the large objects.
-- The columns are taken by name: a restore may give a child of INHERITS another order of columns.
\set ON_ERROR_STOP on
SET timezone = 'UTC';
SELECT format('SELECT %L, count(*), sum(hashtextextended(ROW(%s)::text, 0)) FROM ONLY %s AS t', c.oid::regclass,
              (SELECT string_agg('t.' || quote_ident(attname), ', ' ORDER BY attname COLLATE "C")
                 FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), c.oid::regclass)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY c.oid::regclass::text COLLATE "C" \gexec
SELECT 'large objects', count(*), sum(hashtextextended(encode(lo_get(oid), 'hex'), oid::bigint)) FROM pg_largeobject_metadata;
