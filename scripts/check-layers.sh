#!/bin/sh
# The one-way house, enforced: in cgi/ and in watchdog/ a file includes only what stands before it in the orders below,
# each library has one file of a program that includes it (json-c has two in watchdog/: who reads and who writes), nothing
# right of the snapshot knows the prober's side, and the two programs share common/ alone. Run from the root of the tree.
set -eu

cgi_order="address config sqlscan checks changes reason snapshot protocol hosts intake probe ledger prober process verdict render route
           health gate fcgi listen connection deadman server oneshot main"
watchdog_order="value watchfile json fetch judge survey state command unit rogue evict listener policy recover report check patrol main"
# The wall: these may not include the second line's headers.
right="verdict render route health gate fcgi listen connection deadman server"
left="protocol hosts intake probe ledger prober"
failures=0

complain() {
    echo "check-layers: $*" >&2
    failures=$((failures + 1))
}

position() { # in the order $1, of module $2
    n=0
    for module in $1; do
        n=$((n + 1))
        if [ "$module" = "$2" ]; then
            echo "$n"
            return
        fi
    done
    echo 0
}

includes() { # the modules of DIR ($1) that file $2 includes
    sed -n "s|^#include \"$1/\\([a-z0-9_]*\\)\\.h\".*|\\1|p" "$2"
}

check_order() { # directory, its order, file
    own=$(position "$2" "$(basename "${3%.*}")")
    [ "$own" -gt 0 ] || complain "$3: not in the order of $0: say where it belongs"
    for included in $(includes "$1" "$3"); do
        [ "$(position "$2" "$included")" -le "$own" ] || complain "$3 includes $1/$included.h, which stands behind it"
    done
}

check_foreign() { # file, directories whose headers it must not include
    file=$1
    shift
    for directory in "$@"; do
        [ -z "$(includes "$directory" "$file")" ] || complain "$file includes a header of $directory/"
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

only() { # header, the files that may include it
    for file in $(grep -lE "^#include <$1>" cgi/*.[ch] common/*.[ch] watchdog/*.[ch] || true); do
        case " $2 " in
        *" $file "*) ;;
        *) complain "$file includes <$1>, which only $2 may" ;;
        esac
    done
}

for file in cgi/*.[ch]; do
    check_order cgi "$cgi_order" "$file"
    check_foreign "$file" watchdog
done
for file in watchdog/*.[ch]; do
    check_order watchdog "$watchdog_order" "$file"
    check_foreign "$file" cgi
done
for file in common/*.[ch]; do
    check_foreign "$file" cgi watchdog
done
check_wall
only libpq-fe.h cgi/probe.c
only json-c/json.h "cgi/render.c watchdog/json.c watchdog/report.c"
only fcgiapp.h cgi/fcgi.c
only curl/curl.h watchdog/fetch.c

[ "$failures" -eq 0 ] || exit 1
echo "check-layers: the includes flow one way"
