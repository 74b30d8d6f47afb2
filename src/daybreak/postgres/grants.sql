-- Every object that somebody can be granted rights on, with its rights where they are not those that it was made with.
WITH object (kind, schema, identity, part, owner, acl, class, oid) AS (
    SELECT 'SCHEMA', nspname, quote_ident(nspname), NULL::text, nspowner, nspacl, 'pg_namespace'::regclass, oid
      FROM pg_namespace
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, nspname, format('%I.%I', nspname, relname), NULL,
           relowner, relacl, 'pg_class'::regclass, c.oid
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'COLUMN', nspname, format('%I.%I', nspname, relname), attname, relowner, attacl, NULL, c.oid
      FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'ROUTINE', nspname, p.oid::regprocedure::text, NULL, proowner, proacl, 'pg_proc'::regclass, p.oid
      FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    UNION ALL
    SELECT 'TYPE', nspname, format('%I.%I', nspname, typname), NULL, typowner, typacl, 'pg_type'::regclass, t.oid
      FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
     WHERE typtype IN ('b', 'c', 'd', 'e', 'r') AND typcategory <> 'A'
       AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c'))
    UNION ALL
    SELECT 'LARGE OBJECT', '', oid::text, NULL, lomowner, lomacl, NULL, oid
      FROM pg_largeobject_metadata
     WHERE lomacl IS NOT NULL OR {everything} OR EXISTS (SELECT FROM pg_default_acl WHERE defaclobjtype = 'L')
)
SELECT kind, schema, identity, part, pg_get_userbyid(owner) AS owner,
       CASE WHEN acl IS DISTINCT FROM (SELECT initprivs FROM pg_init_privs i
                                        WHERE i.classoid = object.class AND i.objoid = object.oid AND i.objsubid = 0)
            THEN (SELECT coalesce(json_agg(json_build_object(
                             'grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                             'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]')
                    FROM aclexplode(acl) a WHERE a.grantee <> owner) END AS acl,
       (SELECT json_agg(a.privilege_type)
          FROM aclexplode(acldefault(letter, owner)) a
         WHERE a.grantee = owner AND acl IS NOT NULL AND NOT EXISTS (
               SELECT FROM aclexplode(acl) b WHERE b.grantee = owner AND b.privilege_type = a.privilege_type)) AS lost
  FROM object LEFT JOIN (VALUES ('SCHEMA', 'n'::"char"), ('TABLE', 'r'), ('SEQUENCE', 's'), ('ROUTINE', 'f'),
                                ('TYPE', 'T'), ('LARGE OBJECT', 'L')) AS kinds (kind, letter) USING (kind)
 WHERE schema !~ '^pg_' AND schema <> 'information_schema' AND (part IS NULL OR acl IS NOT NULL OR {everything})
