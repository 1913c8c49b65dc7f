#!/bin/sh
# Installs the missing Debian packages of the named sets, as root or through sudo; otherwise it prints the command to
# run. It does not start the services of those packages. Sets: build run test clients lint fuzz bench roots.
set -eu

packages_of() {
    case $1 in
    build) echo gcc libc6-dev make pkg-config libfcgi-dev libpq-dev libjson-c-dev libcurl4-openssl-dev ;;
    run) packages_of build && echo postgresql nginx curl util-linux procps ;;
    test)
        packages_of run
        echo libcmocka-dev python3-pytest python3-pytest-xdist python3-psycopg2 python3-jsonschema fcgiwrap lighttpd pgbouncer \
            openssl libfaketime spawn-fcgi iptables iproute2 strace systemd systemd-container dbus
        ;;
    clients) packages_of test && echo apache2 lighttpd caddy haproxy h2o spawn-fcgi libfcgi-bin prometheus ;;
    lint) packages_of build && echo clang-format clang-tidy cppcheck shellcheck mandoc codespell ;;
    fuzz) packages_of build && echo clang libclang-rt-dev ;;
    bench)
        packages_of run
        echo python3-psycopg2 wrk fcgiwrap php-fpm golang-go golang-github-jackc-pgx-v4-dev \
            python3-fastapi python3-asyncpg uvicorn python3-uvloop python3-httptools
        ;;
    roots) echo debootstrap debian-archive-keyring git ;;
    *) echo "packages.sh: unknown set '$1', expected build, run, test, clients, lint, fuzz, bench or roots" >&2 && exit 64 ;;
    esac
}

missing_of() {
    for package in $1; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || echo "$package"
    done | sort -u | tr '\n' ' '
}

# Debian's packages start their servers at installation. A policy-rc.d that exits 101 forbids this (invoke-rc.d(8)).
# This leaves an existing one alone, unless a killed run of this script has left it.
install_as_root() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] || grep -qs "health-api's packages.sh" "$policy"; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf "#!/bin/sh\n# Only while health-api's packages.sh runs.\nexit 101\n" >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || echo "packages.sh: apt-get update failed, trying with the lists that are there" >&2
    # shellcheck disable=SC2086  # a list of words
    apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $1
}

if [ "${1:-}" = --install-as-root ]; then # sudo calls this, see below
    install_as_root "$2"
    exit
fi

wanted=""
targets=""
for set_name in "$@"; do
    wanted="$wanted $(packages_of "$set_name")"
    [ "$set_name" = build ] && targets="$targets all" || targets="$targets $set_name"
done
if ! command -v dpkg-query >/dev/null; then
    echo "packages.sh: this is no Debian; these packages' equivalents are needed:$wanted" >&2
    exit 0 # the build reports what it does not find
fi
missing=$(missing_of "$wanted")
[ -n "$missing" ] || exit 0
announcement="Installing the Debian packages that make$targets needs, without starting their services: $missing"
if [ "$(id -u)" -eq 0 ]; then
    echo "$announcement"
    install_as_root "$missing"
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    echo "$announcement"
    sudo "$0" --install-as-root "$missing"
else
    echo "packages.sh: make$targets needs Debian packages that are missing, and this is not root, nor does sudo work" \
        "without a terminal here; run this, then try again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
    exit 1
fi
