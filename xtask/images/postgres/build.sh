#!/bin/sh
# Makes an image that behaves like the official one of PostgreSQL, from the newest installed server.
#
#   build.sh WORK_FOLDER IMAGE
set -eu

here=$(dirname "$0")
work=$1
image=$2
versions=/usr/lib/postgresql
version=$(ls "$versions" | sort -n | tail -1)
PATH="$versions/$version/bin:$PATH"
mkdir -p "$work"
. "$here/../image.sh"
rootfs postgres initdb dash id chown chmod setpriv sed

# A server finds the rest of its files from where it is itself.
root=$work/rootfs
home=$root$versions/$version
mkdir -p "$home/bin" "$home/lib" "$root/usr/share/postgresql" "$root/run/postgresql"
for program in postgres initdb; do
    mv "$root/usr/bin/$program" "$home/bin/$program"
    ln -s "$versions/$version/bin/$program" "$root/usr/bin/$program"
done
# Of the modules, those that a new data directory and the tests need.
for module in plpgsql dict_snowball pg_stat_statements; do
    cp "$versions/$version/lib/$module.so" "$home/lib/"
    libraries "$versions/$version/lib/$module.so"
done
cp -R "/usr/share/postgresql/$version" "$root/usr/share/postgresql/"
# The names of time zones, which Debian's server reads from the system.
mkdir -p "$root/usr/share/zoneinfo"
cp -RL /usr/share/zoneinfo/Etc /usr/share/zoneinfo/UTC "$root/usr/share/zoneinfo/"
# Clients come over the container's network.
echo "listen_addresses = '*'" >>"$root/usr/share/postgresql/$version/postgresql.conf.sample"
mkdir -p "$root/var/lib/postgresql/data"
chmod 700 "$root/var/lib/postgresql/data"
chmod 1777 "$root/run/postgresql"
mkdir -p "$root/var"
ln -s /run "$root/var/run"
account postgres /var/lib/postgresql
finish
