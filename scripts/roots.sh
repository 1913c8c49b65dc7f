#!/bin/sh
# make roots builds the programs and runs the unit tests in throw-away roots, one for each Debian in ROOTS, with gcc and
# with clang. The sources are those of HEAD, in a path with a space; the user who builds may not write to them. Needs
# root.
set -eu
cd "$(dirname "$0")/.."
unset MAKEFLAGS MFLAGS # the makes in the roots are independent of the make that called this script

suites=${ROOTS:-bookworm trixie}
[ "$(id -u)" -eq 0 ] || { echo "roots.sh: debootstrap and chroot need root" >&2; exit 1; }
# shellcheck disable=SC2016  # the $ is apt's
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
    sed -n 1p)}
[ -n "$mirror" ] || { echo "roots.sh: apt knows no Debian: run apt-get update, or set MIRROR" >&2; exit 1; }

# Not in /tmp: it is often mounted nodev, and debootstrap creates devices.
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" health-roots-XXXXXX)
child=
# shellcheck disable=SC2317  # called by the trap
clean_up() {
    [ -z "$child" ] || kill -KILL "$child"
    rm -rf "$work" || { sleep 1 && rm -rf "$work"; } # a killed process may have written a last file
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
place="/var/tmp/a place with spaces"

# Call it in a subshell, which becomes the command. Its mounts and all its processes end with it, also if it is killed.
alone() {
    exec unshare --mount --pid --fork --kill-child --mount-proc "$@"
}

# Shows the output of a command only if the command fails.
quietly() {
    "$@" >"$work/log" 2>&1 &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    [ "$status" -eq 0 ] || { tail -n 40 "$work/log" >&2; echo "roots.sh: $suite: failed: $*" >&2; exit 1; }
}

# Installs the packages that the README's command installs, and those that the unit tests need in addition.
prepare() {
    mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/throw-away" # it need not survive a power failure
    # --force-check-gpg: fails without a signature by a key that this machine trusts.
    quietly alone debootstrap --force-check-gpg --variant=minbase --include=make "$suite" "$root" "$mirror"
    mkdir -m 1777 "$root$place"
    mkdir "$root$place/source"
    git archive HEAD | tar -x -C "$root$place/source"
    quietly alone --root="$root" make -C "$place/source" packages
    quietly alone --root="$root" apt-get install -q -y --no-install-recommends clang libcmocka-dev
}

try() {
    began=$(date +%s)
    quietly alone --root="$root" --setgid=65534 --setuid=65534 \
        make -C "$place/source" -j"$(nproc)" "BUILD=../$1" "CC=$1" WERROR=1 all unit
    echo "$suite: $(alone --root="$root" "$1" --version | sed -n 1p), libpq $(alone --root="$root" \
        pkg-config --modversion libpq): built, $(grep -c '^\[  PASSED  \]' "$work/log") unit test programs passed," \
        "$(($(date +%s) - began)) s"
}

for suite in $suites; do
    root=$work/$suite
    prepare
    for compiler in gcc clang; do
        try "$compiler"
    done
    rm -rf "$root"
done
