#!/bin/sh
# Checks that includes flow one way: a file includes only modules that come before it in the list of ARCHITECTURE.md
# ("layers"), no include crosses the wall between probe/ and the other half, the two programs share only common/, and
# only the files that the list names include a library. Run it from the root of the tree.
set -eu

layers() {
    # shellcheck disable=SC2016  # the backquotes are Markdown's
    sed -n '/^```layers$/,/^```$/{/^```/!p}' ARCHITECTURE.md
}

sources() {
    find cgi common watchdog -name '*.[ch]' | sort
}

{
    layers
    echo --
    sources
    echo --
    sources | xargs grep -HE '^#include ["<]'
} | awk '
function complain(what) { print "check-layers: " what >"/dev/stderr"; failures++ }
function folder(module) { sub(/[^\/]*$/, "", module); return module }
/^--$/ { part++; next }
part == 0 {
    for (i = 2; i <= NF; i++)
        if ($1 ~ /\/$/) place[$1 $i] = ++count; else uses[$1, $i] = has_rule[$1] = 1
}
part == 1 {
    sub(/\.[ch]$/, "")
    seen[$0] = 1
    if (!($0 in place)) { complain($0 " is not in the list of ARCHITECTURE.md: say where it belongs"); place[$0] = ++count }
}
part == 2 {
    split($0, at, ":#include ")
    file = at[1]; module = file; sub(/\.[ch]$/, "", module)
    header = at[2]; sub(/^["<]/, "", header); sub(/[">].*/, "", header)
    other = header; sub(/\.h$/, "", other)
    here = folder(module); there = folder(other)
    if (at[2] ~ /^</ && has_rule[header] && !uses[header, module]) complain(file " includes <" header ">, which the list does not allow")
    if (at[2] !~ /^"/ || module == other) next
    if (!(other in place)) complain(file " includes " header ", which is not in the list")
    else if (place[other] > place[module]) complain(file " includes " header ", which comes after it")
    if (there == "cgi/probe/" && here ~ /^cgi\/(answer|serve)\//) complain(file " includes " header " across the wall")
    if (there ~ /^cgi\// && here ~ /^watchdog\// || there ~ /^watchdog\// && here ~ /^cgi\//) complain(file " includes " header " of the other program")
}
END {
    for (module in place) if (!seen[module]) complain(module " is in the list but does not exist")
    if (failures || !count) exit 1
    print "check-layers: the includes of " count " modules flow one way"
}'

# cgi/probe/intake.c defines recv(2) for libpq. All other code calls recvfrom(2), which nothing replaces.
if sources | grep -v '^cgi/probe/intake' | xargs grep -nE '(^|[^_[:alnum:]])recv\('; then
    echo "check-layers: only libpq calls recv(2) in this program: call recvfrom(2)" >&2
    exit 1
fi
