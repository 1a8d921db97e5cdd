#!/bin/sh
# Makes an image that behaves like the official one of Redis, from the installed `redis-server`.
#
#   build.sh WORK_FOLDER IMAGE
set -eu

here=$(dirname "$0")
work=$1
image=$2
mkdir -p "$work"
sh "$here/../rootfs.sh" "$work/rootfs" redis-server redis-cli dash id find chown setpriv
echo 'root:x:0:0:root:/root:/bin/sh
redis:x:999:999::/data:/bin/sh' >"$work/rootfs/etc/passwd"
echo 'root:x:0:
redis:x:999:' >"$work/rootfs/etc/group"
mkdir -p "$work/rootfs/data"
cp "$here/entrypoint.sh" "$work/rootfs/usr/local/bin/docker-entrypoint.sh"
chmod 755 "$work/rootfs/usr/local/bin/docker-entrypoint.sh"
cp "$here/Dockerfile" "$work/Dockerfile"
# The old builder needs no plugin and no registry.
DOCKER_BUILDKIT=0 docker build --quiet --tag "$image" "$work"
