#!/bin/sh
# Makes an image that behaves like the official one of Redis, from the installed `redis-server`.
#
#   build.sh WORK_FOLDER IMAGE
set -eu

here=$(dirname "$0")
work=$1
image=$2
mkdir -p "$work"
. "$here/../image.sh"
rootfs redis-server redis-cli dash id find chown setpriv
account redis /data
mkdir -p "$work/rootfs/data"
finish
