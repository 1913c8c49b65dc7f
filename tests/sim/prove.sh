#!/bin/sh
# Proves that the simulator can fail. Applies each tests/sim/wrong/RULE-NAME.patch to a copy of the tree, and expects a
# violation of RULE as the first one that `make sim` finds, within a minute. Also checks that a seed gives the same output
# twice.
# Usage: tests/sim/prove.sh [PATCH...]
set -eu
unset MAKEFLAGS MFLAGS # these makes must not belong to the make that called this script
cd "$(dirname "$0")/../.."

# All patches: two halves at once, each with a copy of its own.
if [ $# -eq 0 ]; then
    set -- tests/sim/wrong/*.patch
    # shellcheck disable=SC2046 # the names have no spaces
    tests/sim/prove.sh $(printf '%s\n' "$@" | sed -n 'p;n') &
    other=$!
    status=0
    # shellcheck disable=SC2046
    tests/sim/prove.sh $(printf '%s\n' "$@" | sed -n 'n;p') || status=1
    wait "$other" || status=1
    exit "$status"
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude=./build --exclude=./.git . | tar -x -C "$copy"
failures=0

fail() {
    echo "sim-proof: $*" >&2
    failures=$((failures + 1))
}

prove() {
    rule=$(basename "$1" | cut -d- -f1)
    patch -s -p1 -d "$copy" <"$1" || { fail "$1 does not apply"; return; }
    if ! make -s -C "$copy" BUILD=build build/sim >"$copy/make.log" 2>&1; then
        tail -n 20 "$copy/make.log"
        fail "$1 does not build"
    else
        timeout 60 make -s -C "$copy" BUILD=build sim >"$copy/sim.log" 2>&1 || true
        if grep -q "VIOLATION of '$rule'" "$copy/sim.log"; then
            echo "$(basename "$1" .patch): $(sed -n 's/^sim: .* queries; \(.* s\), .*/\1/p; s/^again: .*SEED/seed/p' "$copy/sim.log" |
                paste -s -d ' '), $(sed -n 's/.*VIOLATION of //p' "$copy/sim.log")"
        else
            fail "$1: no violation of '$rule': $(grep VIOLATION "$copy/sim.log" || tail -n 1 "$copy/sim.log")"
        fi
    fi
    patch -s -R -p1 -d "$copy" <"$1"
}

make -s -C "$copy" BUILD=build build/sim
for seed in 1 2 3; do
    "$copy/build/sim" --seed $seed --verbose >"$copy/first" || true
    "$copy/build/sim" --seed $seed --verbose >"$copy/second" || true
    cmp -s "$copy/first" "$copy/second" || fail "seed $seed gives another output the second time"
done

for patch; do
    prove "$patch"
done
[ "$failures" -eq 0 ]
