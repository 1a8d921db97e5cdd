#!/bin/sh
# Makes the file system of an image from programs that are installed here: each with the libraries
# that it loads.
#
#   rootfs.sh FOLDER PROGRAM...
set -eu

root=$1
shift
rm -rf "$root"
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/usr/bin" "$root/usr/local/bin"
chmod 1777 "$root/tmp"
for program in "$@"; do
    path=$(command -v "$program") || {
        echo "rootfs.sh: \`$program\` is not installed" >&2
        exit 1
    }
    cp -L "$path" "$root/usr/bin/$program"
    # What isn't linked dynamically has no libraries.
    { ldd "$path" || true; } | grep -o '/[^ )]*' | while read -r library; do
        mkdir -p "$root${library%/*}"
        cp -L "$library" "$root$library"
    done
done
ln -s /usr/bin/dash "$root/bin/sh"
