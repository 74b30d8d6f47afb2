-- The tables that are named, as far as rows are carried into or out of them.
-- In ASCII, comments too: all of it is sent, and a database may have an encoding without what else stands here.
SELECT w.number::int AS number, n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS partitioned,
       (SELECT json_agg(json_build_object(
                   'name', attname, 'type', format_type(atttypid, atttypmod),
                   'needed', attnotnull AND NOT atthasdef AND attidentity = '',
                   'generated', attgenerated <> '', 'always', attidentity = 'a') ORDER BY attnum)
          FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
       (SELECT json_agg(json_build_object('columns', k.names, 'nullable', coalesce(k.nullable, '[]'), 'alike', k.alike,
                                           'operators', k.operators)
                        ORDER BY k.indisprimary DESC, k.nullable IS NOT NULL, NOT k.alike, k.name)
          FROM (SELECT indisprimary, i.indexrelid::regclass::text AS name, u.names, u.nullable, u.operators,
                       -- since 15: NULLS NOT DISTINCT
                       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS alike
                  FROM pg_index i,
                       LATERAL (SELECT json_agg(attname ORDER BY place) AS names,
                                       json_agg(attname ORDER BY place) FILTER (WHERE NOT attnotnull) AS nullable,
                                       -- what the index takes for equal: that of citext is in citext's schema
                                       json_agg(coalesce(
                                           (SELECT format('OPERATOR(%s.%s)', oprnamespace::regnamespace, oprname)
                                              FROM pg_opclass JOIN pg_am ON pg_am.oid = opcmethod AND amname = 'btree'
                                              JOIN pg_amop ON amopfamily = opcfamily AND amopstrategy = 3
                                                          AND amoplefttype = opcintype AND amoprighttype = opcintype
                                              JOIN pg_operator ON pg_operator.oid = amopopr
                                             WHERE pg_opclass.oid = u.opclass), '=') ORDER BY place) AS operators
                                  FROM unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY
                                       AS u (attnum, opclass, place)
                                  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
                                 WHERE place <= i.indnkeyatts) AS u
                 WHERE i.indrelid = c.oid AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL
                   AND indexprs IS NULL
                   AND NOT indisexclusion  -- WITHOUT OVERLAPS: equal is not what it asks
               ) k) AS keys,
       (SELECT json_agg(json_build_object('name', conname, 'parent', confrelid::bigint, 'deferrable', condeferrable))
          FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f' AND confrelid <> c.oid) AS parents,
       (SELECT json_agg(rulename ORDER BY rulename)
          FROM pg_rewrite WHERE ev_class = c.oid AND ev_type = '2') AS update_rules,
       (SELECT json_agg(json_build_object('sequence', used.sequence::regclass::text, 'column', attname) ORDER BY attname)
          -- of a partition's identity, the partitioned table has the sequence
          FROM (SELECT d.objid AS sequence, owner.attname AS column
                  FROM (SELECT c.oid UNION SELECT relid FROM pg_partition_ancestors(c.oid)) AS above (oid)
                  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = above.oid
                                  AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                  JOIN pg_attribute owner ON owner.attrelid = above.oid AND owner.attnum = d.refobjsubid
                 UNION
                -- one that nobody owns, or another table: CREATE SEQUENCE and DEFAULT nextval(...) by hand
                SELECT d.refobjid, attname
                  FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
                  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = pg_attrdef.oid
                 WHERE adrelid = c.oid AND d.refclassid = 'pg_class'::regclass
                   AND pg_get_expr(adbin, adrelid) ~ '^nextval\(''.*''::regclass\)$') AS used
          JOIN pg_class s ON s.oid = used.sequence AND s.relkind = 'S'
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = used.column
          -- numbers, and domains over them: what 'INV-' || nextval(...) made has no greatest value
          JOIN pg_type t ON t.oid = atttypid AND typcategory = 'N') AS sequences,
       c.oid::bigint AS oid
  FROM unnest({names}::text[]) WITH ORDINALITY AS w (name, number)
  JOIN pg_class c ON c.oid = to_regclass(w.name) AND c.relkind IN ('r', 'p')
  JOIN pg_namespace n ON n.oid = c.relnamespace
