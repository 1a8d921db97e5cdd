#!/bin/sh
# As the entrypoint of the official image does, as far as tests need it: options alone are for the
# server, the server isn't run as root, and an empty data directory is filled first.
set -e

if [ "${1#-}" != "$1" ]; then
    set -- postgres "$@"
fi
if [ "$1" != postgres ]; then
    exec "$@"
fi
if [ "$(id -u)" = 0 ]; then
    chown postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ "$method" != trust ] && [ -z "$POSTGRES_PASSWORD" ]; then
        echo "POSTGRES_PASSWORD is needed, or POSTGRES_HOST_AUTH_METHOD=trust" >&2
        exit 1
    fi
    initdb --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync \
        --no-instructions
    echo "host all all all $method" >>"$PGDATA/pg_hba.conf"
    if [ -n "$POSTGRES_PASSWORD" ]; then
        quoted=$(printf %s "$POSTGRES_PASSWORD" | sed "s/'/''/g")
        printf "ALTER ROLE postgres PASSWORD '%s';\n\n" "$quoted" |
            postgres --single -F -j -D "$PGDATA" postgres
    fi
fi
unset POSTGRES_PASSWORD
exec "$@"
