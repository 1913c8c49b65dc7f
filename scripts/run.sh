#!/bin/bash
# `make run`: a throw-away PostgreSQL with the sample data, health-api and nginx, all under build/run/, until Ctrl-C.
# PORT sets nginx's port on 127.0.0.1. If root runs this, the servers run as the user postgres.
set -u
umask 022

root=$(cd "$(dirname "$0")/.." && pwd)
run=$root/build/run
data=$run/postgres
port=${PORT:-8080}
database=knowledge
parent=$PPID
drop=() # the command prefix that runs a command as the servers' user

# These variables of libpq, systemd or a CGI server may be set for another program.
# shellcheck disable=SC2086  # a list of names
unset ${!PG@} GATEWAY_INTERFACE LISTEN_FDS LISTEN_PID NOTIFY_SOCKET WATCHDOG_USEC

say() { echo "run: $*"; }

die() {
    echo "run: $*" >&2
    exit 1
}

check_path() {
    case $run in
    *[\"\'\\\$\`]* | *$'\n'*) die "$run: expected a path without quotes, backslashes and dollar signs" ;;
    esac
    # sun_path of unix(7) holds 107 bytes; the longest name in $run is health-api.sock.
    local LC_ALL=C
    [ $((${#run} + 16)) -le 107 ] || die "$run is too long for a Unix socket (107 bytes): clone to a shorter path"
}

check_port() {
    local number
    number=$(printf '%s' "$port" | sed -n 's/^0*\([1-9][0-9]\{0,4\}\)$/\1/p')
    if [ -z "$number" ] || [ "$number" -gt 65535 ]; then
        die "PORT='$port': expected a number from 1 to 65535"
    fi
    port=$number
}

# --- who runs what ---------------------------------------------------------------------------------------------------

# Tries it, because access(2), and so test -x, ignores capabilities.
can_serve() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    "$@" sh -c 'cd "$1" && cat "$2/sql/checks.sql" && "$2/build/health-api" --version' - "$run" "$root" >/dev/null 2>&1
}

# PostgreSQL refuses to run as root. If other users may not enter a directory of the path (/root), the user postgres
# gets the one capability that lets it pass. All servers need this, so nginx's master does not run as root either.
choose_user() {
    [ "$(id -u)" -eq 0 ] || return 0
    id postgres >/dev/null 2>&1 || die "no user 'postgres': is Debian's package postgresql installed?"
    local base=(setpriv --reuid=postgres --regid=postgres --init-groups) bind="" capability caps
    [ "$port" -ge 1024 ] || bind=+net_bind_service
    for capability in "" +dac_read_search +dac_override; do
        caps=$capability${capability:+${bind:+,}}$bind
        drop=("${base[@]}")
        [ -z "$caps" ] || drop+=("--inh-caps=$caps" "--ambient-caps=$caps")
        ! can_serve "${drop[@]}" || return 0
    done
    die "the user postgres cannot enter $root: clone to a directory that other users may enter, such as /srv"
}

find_postgres() {
    bin=$(find /usr/lib/postgresql/*/bin -name initdb 2>/dev/null | sort -V | tail -n 1)
    bin=${bin:-$(command -v initdb)}
    [ -n "$bin" ] || die "no initdb: expected PostgreSQL's server programs in /usr/lib/postgresql/*/bin or PATH"
    bin=$(dirname "$bin")
    nginx=$(PATH=$PATH:/usr/sbin:/sbin command -v nginx) || die "no nginx: expected it in PATH or /usr/sbin"
}

# --- one run at a time -----------------------------------------------------------------------------------------------

# Sets ppid to the parent of a process: 1 or another reaper if the parent has died, 0 if the process itself has died.
find_parent() {
    local key value
    ppid=0
    while read -r key value; do
        [ "$key" != PPid: ] || ppid=$value
    done 2>/dev/null <"/proc/$1/status"
}

# Only this shell holds the lock: no child inherits it (9>&- everywhere), so a kill -9 frees it.
take_lock() {
    mkdir -p "$run" || die "cannot create $run"
    [ -O "$run/lock" ] || [ ! -e "$run/lock" ] || [ "$(id -u)" -eq 0 ] ||
        die "$run is of another user's run: remove it as that user"
    exec 9>>"$run/lock" || die "cannot write $run/lock"
    local holder holder_parent end=$((SECONDS + 2))
    until flock -w 0.2 9; do
        read -r holder holder_parent 2>/dev/null <"$run/holder" || continue
        find_parent "$holder"
        if [ "$ppid" -ne "$holder_parent" ]; then
            say "the run with pid $holder lost its make and is ending, waiting for it"
            flock -w 15 9 || die "the run with pid $holder does not end"
            return
        fi
        [ "$SECONDS" -lt "$end" ] ||
            die "another make run is alive in $run: pid $holder; stop it with Ctrl-C or: kill $holder"
    done
}

# Sets ours to the processes of this or an earlier run: our programs that work in our directories.
find_ours() {
    local proc comm
    ours=()
    for proc in /proc/[0-9]*; do
        [ "$proc/cwd" -ef "$run" ] || [ "$proc/cwd" -ef "$data" ] || continue
        read -r comm 2>/dev/null <"$proc/comm" || continue
        case $comm in
        health-api | nginx | postgres | initdb | pg_ctl | psql) ours+=("${proc#/proc/}") ;;
        esac
    done
}

# SIGQUIT is PostgreSQL's immediate stop, which is enough for throw-away data. A stopped process (kill -STOP) must
# continue before it can handle the signal. The parents end their own children.
stop_servers() {
    local pid comm end=$((SECONDS + 5))
    find_ours
    for pid in "${ours[@]}"; do
        find_parent "$pid"
        [[ " ${ours[*]} " != *" $ppid "* ]] || continue
        read -r comm 2>/dev/null <"/proc/$pid/comm" || continue
        case $comm in
        postgres) kill -QUIT "$pid" ;;
        *) kill -TERM "$pid" ;;
        esac 2>/dev/null
    done
    [ ${#ours[@]} -eq 0 ] || kill -CONT "${ours[@]}" 2>/dev/null
    while find_ours && [ ${#ours[@]} -gt 0 ]; do
        [ "$SECONDS" -lt "$end" ] || kill -KILL "${ours[@]}" 2>/dev/null
        sleep 0.05
    done
}

stop_all() {
    trap '' INT TERM HUP # a second Ctrl-C must not interrupt the clean-up
    stop_servers
    rm -rf "$data" "$run/tmp" "$run/health-api.sock" "$run/pgpass" "$run"/*.pid "$run"/*.conf "$run"/health-api.params \
        "$run"/health-api.headers "$run"/health-api.plain "$run"/health-api.public "$run/holder" "$run/drain" "$run"/.s.PGSQL.*
}

# --- start -----------------------------------------------------------------------------------------------------------

# /proc/net/tcp has addresses and ports in hexadecimal; state 0A is LISTEN. These sockets are in our way: those at our
# own address, and those that accept all of IPv4.
check_port_is_free() {
    local hex uid inode link pid
    hex=$(printf '%04X' "$port")
    read -r uid inode < <(awk -v port="$hex" '
        BEGIN { any = "0000000000000000" }
        $4 == "0A" && ($2 == "0100007F:" port || $2 == "00000000:" port || $2 == any any ":" port ||
                       $2 == any "FFFF00000100007F:" port || $2 == any "FFFF000000000000:" port) { print $8, $10; exit }
        ' /proc/net/tcp /proc/net/tcp6 2>/dev/null) || return 0
    link=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null)
    pid=${link#/proc/}
    pid=${pid%%/*}
    if [ -n "$pid" ]; then
        die "port $port of 127.0.0.1 is busy: held by pid $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
    fi
    die "port $port of 127.0.0.1 is busy: held by a process of user $(id -un "$uid" 2>/dev/null || echo "$uid")," \
        "which only root can name: sudo ss -ltnp 'sport = :$port'"
}

fail_with_log() { # what failed, log
    echo "run: $1; the end of $2:" >&2
    tail -n 15 "$2" >&2
    exit 1
}

as_superuser() { "${drop[@]}" "$bin/psql" -X -q -h "$run" -U postgres -v ON_ERROR_STOP=1 "$@" 9>&-; }

start_postgres() {
    local log=$run/postgres.log password
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    "${drop[@]}" "$bin/initdb" -D "$data" -U postgres -k -E UTF8 --locale=C.UTF-8 --auth-local=trust \
        --auth-host=scram-sha-256 >>"$log" 2>&1 9>&- || fail_with_log "initdb failed" "$log"
    # These are in the file and not on the command line, so that pg_ctl start by hand starts the same server.
    cat >>"$data/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '..'
unix_socket_permissions = 0700
fsync = off    # thrown away when make run ends
EOF
    cat >"$data/pg_hba.conf" <<EOF
local all health_api scram-sha-256
local all postgres   trust
EOF
    "${drop[@]}" "$bin/pg_ctl" -D "$data" -w -t 30 -l "$log" start >/dev/null 2>&1 9>&- ||
        fail_with_log "PostgreSQL did not start" "$log"
    {
        as_superuser -d postgres -c "CREATE DATABASE $database" &&
            as_superuser -d "$database" -1 -f "$root/sql/schema.sql" &&
            as_superuser -d "$database" -1 -f "$root/sql/sample.sql" &&
            as_superuser -d "$database" -v password="$password" -f "$root/sql/role.sql"
    } >>"$log" 2>&1 || fail_with_log "loading sql/ failed" "$log"
    (umask 077 && echo "*:*:*:health_api:$password" >"$run/pgpass")
    [ "$(id -u)" -ne 0 ] || chown postgres: "$run/pgpass"
}

start_health_api() {
    local log=$run/health-api.log
    env --default-signal=INT,QUIT PGHOST="$run" PGUSER=health_api PGDATABASE="$database" PGPASSFILE="$run/pgpass" \
        HEALTH_LISTEN="unix:$run/health-api.sock" HEALTH_CHECKS="$root/sql/checks.sql" \
        setsid "${drop[@]}" "$root/build/health-api" </dev/null >>"$log" 2>&1 9>&- &
    health_api=$!
    echo "$health_api" >"$run/health-api.pid"
}

start_nginx() {
    local log=$run/nginx-error.log
    "$root/scripts/nginx-config.sh" "$run" "$port" || die "cannot write $run/nginx.conf"
    [ "$(id -u)" -ne 0 ] || chown postgres: "$run/tmp"
    "${drop[@]}" "$nginx" -e "$log" -c "$run/nginx.conf" >/dev/null 2>&1 9>&- ||
        fail_with_log "nginx did not start" "$log"
}

wait_healthy() {
    local end=$((SECONDS + 20))
    until curl -q -fs --noproxy '*' -m 2 -o /dev/null "http://127.0.0.1:$port/api/health"; do
        kill -0 "$health_api" 2>/dev/null || fail_with_log "health-api ended" "$run/health-api.log"
        [ "$SECONDS" -lt "$end" ] || fail_with_log "no 200 within 20 s" "$run/health-api.log"
        sleep 0.05
    done
}

print_hints() {
    local pg_ctl log drain
    printf -v drain '%q' "$run/drain"
    printf -v pg_ctl '%q ' "${drop[@]}" "$bin/pg_ctl" -D "$data"
    printf -v log '%q' "$run/postgres.log"
    cat <<EOF

health-api is up behind nginx. Try:

  curl -i http://127.0.0.1:$port/api/health
  curl -s http://127.0.0.1:$port/api/status
  curl -s http://127.0.0.1:$port/api/metrics
  curl -i http://127.0.0.1:$port/api/health/live

Take this node out of service, and in again:

  touch $drain
  rm $drain

Stop its PostgreSQL, ask again, start it again:

  $pg_ctl-m immediate stop
  $pg_ctl-l $log start

Logs are in $run. Ctrl-C stops everything.
EOF
}

# --- stay ------------------------------------------------------------------------------------------------------------

# Detects a SIGINT that only make got. make waits for us and does not pass the signal on; it has the signal blocked and
# no longer catches it (fatal_error_signal in GNU make). Bit 1 of the masks in proc(5) is SIGINT.
make_is_interrupted() {
    local key value blocked=0 caught=2
    while read -r key value; do
        case $key in
        SigBlk:) blocked=$((16#${value: -1} & 2)) ;;
        SigCgt:) caught=$((16#${value: -1} & 2)) ;;
        esac
    done 2>/dev/null <"/proc/$parent/status"
    [ "$blocked" -ne 0 ] && [ "$caught" -eq 0 ]
}

# Waits for a signal, or until the make that started this script has ended. It does not end when a server does: people
# may stop a server to see what happens.
stay() {
    local told=""
    while ! make_is_interrupted; do
        find_parent $$
        [ "$ppid" -eq "$parent" ] || break
        if [ -z "$told" ] && ! kill -0 "$health_api" 2>/dev/null; then
            say "health-api (pid $health_api) has ended; nginx answers for it until make run is started again"
            told=yes
        fi
        sleep 0.5 9>&- &
        wait $!
    done
    say "the make that started this run has ended, stopping"
}

check_path
check_port
find_postgres
take_lock
stop_all # stops and removes what a killed run has left
check_port_is_free
choose_user
echo "$$ $parent" >"$run/holder"
cd "$run" || die "cannot enter $run" # find_ours looks for processes in this directory
trap 'stop_all' EXIT
trap 'echo; say "stopping"; exit 0' INT TERM HUP
rm -f "$run"/*.log
touch "$run/postgres.log" "$run/health-api.log"
if [ "$(id -u)" -eq 0 ]; then
    chown postgres: "$run" "$run"/*.log
fi
say "creating the database (a few seconds)"
start_postgres
start_health_api
start_nginx
wait_healthy
print_hints
stay
