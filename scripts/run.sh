#!/bin/bash
# `make run`: a throw-away PostgreSQL with the sample data, health-api and nginx, all under build/run/, until Ctrl-C.
# PORT chooses nginx's port on 127.0.0.1. As root the servers run as the user postgres.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
run=$root/build/run
data=$run/postgres
port=${PORT:-8080}
database=knowledge
parent=$PPID
me=$(id -un)
drop=() # what runs a command as the servers' user
worker_user=postgres

say() { echo "run: $*"; }

die() {
    echo "run: $*" >&2
    exit 1
}

# --- who runs what ---------------------------------------------------------------------------------------------------

# PostgreSQL refuses to run as root. Below a directory that others may not enter (/root) the user postgres gets the
# one capability that lets it pass.
choose_user() {
    [ "$me" = root ] || return 0
    id postgres >/dev/null 2>&1 || die "no user 'postgres': is Debian's package postgresql installed?"
    drop=(setpriv --reuid=postgres --regid=postgres --init-groups)
    "${drop[@]}" test -x "$root" && return 0
    for capability in dac_read_search dac_override; do
        local with=("${drop[@]}" "--inh-caps=+$capability" "--ambient-caps=+$capability")
        # Not "test -r": access(2) asks for the real user, without its capabilities.
        if "${with[@]}" cat "$root/Makefile" >/dev/null 2>&1; then
            drop=("${with[@]}")
            worker_user=root # nginx hands no capability down
            return 0
        fi
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

is_alive() { # pid; a zombie is not
    grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2>/dev/null
}

# The lock is this shell's: no child inherits it (9>&- everywhere), so a kill -9 frees it.
take_lock() {
    mkdir -p "$run" || die "cannot create $run"
    exec 9>>"$run/lock" || die "cannot write $run/lock"
    local holder holder_parent end=$((SECONDS + 2))
    until flock -w 0.2 9; do
        read -r holder holder_parent 2>/dev/null <"$run/holder" || continue
        if ! is_alive "$holder_parent"; then
            say "the run with pid $holder lost its make and is ending, waiting for it"
            flock -w 15 9 || die "the run with pid $holder does not end"
            return
        fi
        [ "$SECONDS" -lt "$end" ] ||
            die "another make run is alive in $run: pid $holder; stop it with Ctrl-C or: kill $holder"
    done
}

# Whether the process in a pid file is one of ours: its command line names our directory.
is_ours() {
    local pid=$1
    [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$run" && return 0
    [ -n "$pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "HEALTH_LISTEN=unix:$run/health-api.sock"
}

pid_of() {
    local pid=""
    [ -r "$1" ] && read -r pid <"$1"
    is_ours "$pid" && echo "$pid"
}

wait_gone() { # pid, seconds
    local end=$((SECONDS + $2))
    while is_alive "$1"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

stop_one() { # pid file, signal
    local pid
    pid=$(pid_of "$1") || return 0
    kill "-$2" "$pid" 2>/dev/null
    wait_gone "$pid" 5 || { kill -KILL "$pid" 2>/dev/null && wait_gone "$pid" 5; }
}

stop_all() {
    stop_one "$run/nginx.pid" QUIT
    stop_one "$run/health-api.pid" TERM
    # SIGQUIT is the immediate stop: the data is thrown away.
    stop_one "$data/postmaster.pid" QUIT
    rm -rf "$data" "$run/tmp" "$run/health-api.sock" "$run/pgpass" "$run"/*.pid "$run"/*.conf "$run"/health-api.params \
        "$run"/health-api.headers "$run/holder" "$run"/.s.PGSQL.*
}

# --- start -----------------------------------------------------------------------------------------------------------

check_port() {
    case $port in
    "" | *[!0-9]*) die "PORT='$port': expected a number from 1 to 65535" ;;
    esac
    if [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then
        die "PORT='$port': expected a number from 1 to 65535"
    fi
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
    die "port $port of 127.0.0.1 is busy: $(port_holder). Choose another one: make run PORT=$((port % 65535 + 1))"
}

# /proc/net/tcp has addresses and ports in hexadecimal; state 0A is LISTEN.
port_holder() {
    local inode link pid
    inode=$(awk -v port="$(printf '%04X' "$port")" \
        '$4 == "0A" && substr($2, length($2) - 3) == port { print $10; exit }' /proc/net/tcp /proc/net/tcp6)
    link=$(find /proc/[0-9]*/fd -lname "socket:\[${inode:-none}\]" -print -quit 2>/dev/null)
    pid=${link#/proc/}
    pid=${pid%%/*}
    if [ -n "$pid" ]; then
        echo "held by pid $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
    else
        echo "held by a process that this user cannot see (try as root)"
    fi
}

fail_with_log() { # what failed, log
    echo "run: $1; the end of $2:" >&2
    tail -n 15 "$2" >&2
    exit 1
}

as_superuser() { "${drop[@]}" "$bin/psql" -X -q -h "$run" -U postgres -v ON_ERROR_STOP=1 "$@" 9>&-; }

start_postgres() {
    local log=$run/postgres.log password
    [ $((${#run} + 20)) -lt 107 ] || die "$run is too long for a Unix socket (107 bytes): clone to a shorter path"
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    "${drop[@]}" "$bin/initdb" -D "$data" -U postgres -k -E UTF8 --locale=C.UTF-8 --auth-local=trust \
        --auth-host=scram-sha-256 >>"$log" 2>&1 9>&- || fail_with_log "initdb failed" "$log"
    # In the file and not on the command line, so that pg_ctl start by hand starts the same server.
    cat >>"$data/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '$run'
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
    [ "$me" != root ] || chown postgres: "$run/pgpass"
}

start_health_api() {
    local log=$run/health-api.log
    env -u PGSERVICE -u PGPASSWORD -u PGHOSTADDR -u PGPORT -u PGOPTIONS -u PGSSLMODE -u GATEWAY_INTERFACE -u LISTEN_FDS \
        PGHOST="$run" PGUSER=health_api PGDATABASE="$database" PGPASSFILE="$run/pgpass" \
        HEALTH_LISTEN="unix:$run/health-api.sock" HEALTH_CHECKS="$root/sql/checks.sql" \
        setsid "${drop[@]}" "$root/build/health-api" </dev/null >>"$log" 2>&1 9>&- &
    health_api=$!
    echo "$health_api" >"$run/health-api.pid"
}

start_nginx() {
    local user_line=""
    [ "$me" = root ] && user_line="user $worker_user;"
    "$root/scripts/nginx-config.sh" "$run" "$port" "$user_line"
    "$nginx" -e "$run/nginx-error.log" -c "$run/nginx.conf" 9>&- || fail_with_log "nginx did not start" "$run/nginx-error.log"
}

wait_healthy() {
    local end=$((SECONDS + 20))
    until curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$port/api/health" 2>/dev/null; do
        kill -0 "$health_api" 2>/dev/null || fail_with_log "health-api ended" "$run/health-api.log"
        [ "$SECONDS" -lt "$end" ] || fail_with_log "no 200 within 20 s" "$run/health-api.log"
        sleep 0.05
    done
}

print_hints() {
    local pg_ctl="$bin/pg_ctl -D $data"
    [ "$me" != root ] || pg_ctl="${drop[*]} $pg_ctl"
    cat <<EOF

health-api is up behind nginx. Try:

  curl -i http://127.0.0.1:$port/api/health
  curl -s http://127.0.0.1:$port/api/status
  curl -i http://127.0.0.1:$port/api/health/live

Stop its PostgreSQL, ask again, start it again:

  $pg_ctl -m immediate stop
  $pg_ctl -l $run/postgres.log start

Logs are in $run. Ctrl-C stops everything.
EOF
}

# --- stay ------------------------------------------------------------------------------------------------------------

# Until a signal, or until the make that started us is gone. What ends meanwhile is the demonstration, not our end.
stay() {
    local told=""
    while is_alive "$parent"; do
        if [ -z "$told" ] && ! kill -0 "$health_api" 2>/dev/null; then
            say "health-api (pid $health_api) has ended; nginx answers for it until make run is started again"
            told=yes
        fi
        sleep 0.5 9>&- &
        wait $!
    done
    say "the process that started this run is gone"
}

choose_user
find_postgres
take_lock
stop_all # what a run that was killed has left
echo "$$ $parent" >"$run/holder"
check_port
trap 'stop_all' EXIT
trap 'echo; say "stopping"; exit 0' INT TERM HUP
rm -f "$run"/*.log
touch "$run/postgres.log" "$run/health-api.log"
if [ "$me" = root ]; then
    chown postgres: "$run" "$run"/*.log
fi
say "creating the database (a few seconds)"
start_postgres
start_health_api
start_nginx
wait_healthy
print_hints
stay
