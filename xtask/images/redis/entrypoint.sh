#!/bin/sh
# As the entrypoint of the official image does: options and configuration files alone are for the
# server, and the server isn't run as root.
set -e

if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- redis-server "$@"
fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
fi
if [ "$1" = redis-server ]; then
    # A server of Debian's refuses clients from outside the container; one of the official image was
    # built not to.
    set -- "$@" --protected-mode no
fi
umask 0077
exec "$@"
