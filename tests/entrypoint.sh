#!/bin/sh
# Does what the official image of PostgreSQL does with its environment: makes the cluster once, then serves it.
set -e
one() { eval "file=\${$1_FILE-} value=\${$1-}"; [ -z "$file" ] || value=$(cat "$file"); printf '%s' "$value"; }
as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
bin=/usr/lib/postgresql/15/bin
[ "${1-}" != postgres ] || shift
PGDATA=${PGDATA:-/var/lib/postgresql/data}
user=$(one POSTGRES_USER)
user=${user:-postgres}
name=$(one POSTGRES_DB)
name=${name:-$user}
mkdir -p /var/run/postgresql "$PGDATA"
chown postgres /var/run/postgresql "$PGDATA"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    (umask 077 && one POSTGRES_PASSWORD >/run/password && chown postgres /run/password)
    as $bin/initdb -D "$PGDATA" -U "$user" --pwfile=/run/password --auth-local="${AUTH_LOCAL:-trust}" \
        --auth-host=scram-sha-256 -N --locale=C.UTF-8 >/dev/null
    [ "$name" = postgres ] || as $bin/postgres --single -D "$PGDATA" -c fsync=off postgres <<END >/dev/null
create database "$name"
END
    rm /run/password
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups $bin/postgres -D "$PGDATA" -c listen_addresses=127.0.0.1 -c fsync=off "$@"
