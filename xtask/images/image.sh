# Read by the scripts that make images, which set `here`, `work` and `image`: the file system of an
# image from programs that are installed here, each with the libraries that it loads.

# rootfs PROGRAM... begins the file system.
rootfs() {
    rm -rf "$work/rootfs"
    mkdir -p "$work/rootfs/bin" "$work/rootfs/etc" "$work/rootfs/tmp" \
        "$work/rootfs/usr/bin" "$work/rootfs/usr/local/bin"
    chmod 1777 "$work/rootfs/tmp"
    for program in "$@"; do
        path=$(command -v "$program") || {
            echo "\`$program\` is not installed" >&2
            exit 1
        }
        cp -L "$path" "$work/rootfs/usr/bin/$program"
        libraries "$path"
    done
    ln -s /usr/bin/dash "$work/rootfs/bin/sh"
}

# libraries FILE copies those that it loads. What isn't linked dynamically has none.
libraries() {
    { ldd "$1" || true; } | grep -o '/[^ )]*' | while read -r library; do
        mkdir -p "$work/rootfs${library%/*}"
        cp -L "$library" "$work/rootfs$library"
    done
}

# account NAME HOME adds the one that the server is run by.
account() {
    printf 'root:x:0:0:root:/root:/bin/sh\n%s:x:999:999::%s:/bin/sh\n' "$1" "$2" \
        >"$work/rootfs/etc/passwd"
    printf 'root:x:0:\n%s:x:999:\n' "$1" >"$work/rootfs/etc/group"
}

# finish makes the image, with the entrypoint and the Dockerfile that lie beside the script.
finish() {
    cp "$here/entrypoint.sh" "$work/rootfs/usr/local/bin/docker-entrypoint.sh"
    chmod 755 "$work/rootfs/usr/local/bin/docker-entrypoint.sh"
    cp "$here/Dockerfile" "$work/Dockerfile"
    # The old builder needs no plugin and no registry.
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$image" "$work"
}
