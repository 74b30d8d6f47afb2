-- Does one thing (daybreak.act) to everything in this database that the current role owns, and that no extension
-- brought: gives it to one heir, or moves what is no table into one schema.
-- REASSIGN OWNED would also reach into other databases of the cluster, and refuses for the bootstrap superuser.
-- Sent alone, so that it may COMMIT: every object costs a lock until then, and there is room for some thousands only.
DO $daybreak$
DECLARE
    heir constant text := current_setting('daybreak.heir', true);
    act constant text := current_setting('daybreak.act');
    home constant text := current_setting('daybreak.home', true);  -- the schema that things are moved to
    me constant oid := (SELECT oid FROM pg_roles WHERE rolname = current_user);
    item record;
    done integer := 0;
BEGIN
    IF heir = current_user THEN
        RETURN;
    END IF;
    FOR item IN
        WITH of_range (class, oid) AS (
            -- what does not follow a range: its constructors and multirange into a schema, before 17 the latter to an heir
            SELECT d.classid, d.objid FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid AND typtype IN ('r', 'm')
             WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'i'
               AND (home <> '' OR (d.classid = 'pg_type'::regclass
                                   AND current_setting('server_version_num')::int < 170000))
               AND NOT EXISTS (SELECT FROM pg_depend e
                                WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
        ), owned (class, oid, schema, kind, name) AS (
            SELECT 'pg_namespace'::regclass, oid, nspname, 'SCHEMA', quote_ident(nspname)
              FROM pg_namespace WHERE nspowner = me
            UNION ALL
            SELECT 'pg_class'::regclass, c.oid, nspname,
                   CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
                   format('%I.%I', nspname, relname)
              FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
             WHERE relowner = me AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            UNION ALL
            SELECT 'pg_proc'::regclass, p.oid, nspname, 'ROUTINE', p.oid::regprocedure::text
              FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE proowner = me
            UNION ALL
            SELECT 'pg_type'::regclass, t.oid, nspname,
                   CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, format('%I.%I', nspname, typname)
              FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
             WHERE typowner = me AND typtype IN ('b', 'c', 'd', 'e', 'r', 'm')
               AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c'))
               AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
            UNION ALL
            SELECT 'pg_operator'::regclass, o.oid, nspname, 'OPERATOR', o.oid::regoperator::text
              FROM pg_operator o JOIN pg_namespace n ON n.oid = oprnamespace WHERE oprowner = me
            UNION ALL
            SELECT 'pg_opclass'::regclass, o.oid, nspname, 'OPERATOR CLASS',
                   format('%I.%I USING %I', nspname, opcname, amname)
              FROM pg_opclass o JOIN pg_namespace n ON n.oid = opcnamespace JOIN pg_am a ON a.oid = opcmethod
             WHERE opcowner = me
            UNION ALL
            SELECT 'pg_opfamily'::regclass, o.oid, nspname, 'OPERATOR FAMILY',
                   format('%I.%I USING %I', nspname, opfname, amname)
              FROM pg_opfamily o JOIN pg_namespace n ON n.oid = opfnamespace JOIN pg_am a ON a.oid = opfmethod
             WHERE opfowner = me
            UNION ALL
            SELECT 'pg_collation'::regclass, c.oid, nspname, 'COLLATION', format('%I.%I', nspname, collname)
              FROM pg_collation c JOIN pg_namespace n ON n.oid = collnamespace WHERE collowner = me
            UNION ALL
            SELECT 'pg_conversion'::regclass, c.oid, nspname, 'CONVERSION', format('%I.%I', nspname, conname)
              FROM pg_conversion c JOIN pg_namespace n ON n.oid = connamespace WHERE conowner = me
            UNION ALL
            SELECT 'pg_statistic_ext'::regclass, s.oid, nspname, 'STATISTICS', format('%I.%I', nspname, stxname)
              FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace WHERE stxowner = me
            UNION ALL
            SELECT 'pg_ts_config'::regclass, c.oid, nspname, 'TEXT SEARCH CONFIGURATION',
                   format('%I.%I', nspname, cfgname)
              FROM pg_ts_config c JOIN pg_namespace n ON n.oid = cfgnamespace WHERE cfgowner = me
            UNION ALL
            SELECT 'pg_ts_dict'::regclass, d.oid, nspname, 'TEXT SEARCH DICTIONARY',
                   format('%I.%I', nspname, dictname)
              FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = dictnamespace WHERE dictowner = me
            UNION ALL
            SELECT 'pg_largeobject'::regclass, oid, '', 'LARGE OBJECT', oid::text
              FROM pg_largeobject_metadata WHERE lomowner = me
        )
        SELECT kind, name FROM owned
         WHERE schema !~ '^pg_' AND schema <> 'information_schema'
           AND NOT EXISTS (
               -- members of extensions; what another object brings with it (a table its row type and its sequences)
               -- (a partitioned table's key columns depend on it with its own oid, and an objsubid)
               SELECT FROM pg_depend d WHERE d.classid = owned.class AND d.objid = owned.oid AND d.objsubid = 0
                  AND (d.deptype = 'e' OR (d.deptype = 'i' AND (owned.class, owned.oid) NOT IN (TABLE of_range))
                       OR (d.deptype = 'a' AND owned.kind = 'SEQUENCE')))
           AND (home = '' OR home IS NULL OR (schema <> home AND kind NOT IN (
               'SCHEMA', 'TABLE', 'VIEW', 'MATERIALIZED VIEW', 'FOREIGN TABLE', 'LARGE OBJECT')))
         -- An heir may only own what is in a schema where it may create: schemas go first, and are its own then.
         -- A routine's name holds its types: they move last.
         ORDER BY kind <> 'SCHEMA', kind IN ('TYPE', 'DOMAIN'), kind, name
    LOOP
        EXECUTE format('ALTER %s %s %s', item.kind, item.name, act);
        done := done + 1;
        IF done % 100 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$daybreak$
