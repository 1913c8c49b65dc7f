#!/bin/sh
# The one-way house, enforced: in cgi/ a file includes only what stands before it in the order below, only one file
# knows each library, and nothing right of the snapshot knows the prober's side. Run from the root of the tree.
set -eu

order="config sqlscan checks changes reason snapshot protocol hosts probe ledger prober process verdict render route health gate
       fcgi listen connection deadman server oneshot main"
# The wall: these may not include the second line's headers.
right="verdict render route health gate fcgi listen connection deadman server"
left="protocol hosts probe ledger prober"
failures=0

complain() {
    echo "check-layers: $*" >&2
    failures=$((failures + 1))
}

position() {
    n=0
    for module in $order; do
        n=$((n + 1))
        if [ "$module" = "$1" ]; then
            echo "$n"
            return
        fi
    done
    echo 0
}

includes() { # the modules of DIR ($1) that file $2 includes
    sed -n "s|^#include \"$1/\\([a-z0-9_]*\\)\\.h\".*|\\1|p" "$2"
}

check_order() { # file
    module=$(basename "${1%.*}")
    own=$(position "$module")
    [ "$own" -gt 0 ] || complain "$1: not in the order of $0: say where it belongs"
    for included in $(includes cgi "$1"); do
        [ "$(position "$included")" -le "$own" ] || complain "$1 includes cgi/$included.h, which stands behind it"
    done
}

check_wall() {
    for module in $right; do
        for file in cgi/"$module".c cgi/"$module".h; do
            [ -f "$file" ] || continue
            for included in $(includes cgi "$file"); do
                case " $left " in
                *" $included "*) complain "$file includes cgi/$included.h across the wall" ;;
                esac
            done
        done
    done
}

only() { # header, the one file that may include it
    for file in $(grep -lE "^#include <$1>" cgi/*.[ch] common/*.[ch] || true); do
        [ "$file" = "$2" ] || complain "$file includes <$1>, which only $2 may"
    done
}

for file in cgi/*.[ch]; do
    check_order "$file"
done
for file in common/*.[ch]; do
    [ -z "$(includes cgi "$file")" ] || complain "$file includes a header of cgi/"
done
check_wall
only libpq-fe.h cgi/probe.c
only json-c/json.h cgi/render.c
only fcgiapp.h cgi/fcgi.c

[ "$failures" -eq 0 ] || exit 1
echo "check-layers: the includes flow one way"
