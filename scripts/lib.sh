# What the scripts share: words to the user, root rights, missing programs. Sourced, not run.
# shellcheck shell=bash

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# say WORDS…: a line about what happens next.
say() { printf '\n== %s\n' "$*"; }

# fail WORDS…: says what is wrong and ends the script.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# as_root COMMAND…: runs it as root, directly or through sudo; fails where neither is possible.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# need PROGRAM=PACKAGE…: installs the Debian packages of the programs that are missing.
need() {
    local pair packages=()
    for pair; do
        command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    say "installing ${packages[*]}"
    if command -v apt-get >/dev/null && as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null; then
        return 0
    fi
    echo "could not install ${packages[*]}: it takes apt-get, and root or sudo" >&2
    return 1
}

# fuse_ready: makes /dev/fuse appear where the kernel has it as a module; fails without it.
fuse_ready() {
    [ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
    [ -r /dev/fuse ] && [ -w /dev/fuse ]
}
