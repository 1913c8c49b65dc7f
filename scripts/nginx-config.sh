#!/bin/sh
# Writes into the directory RUN an nginx.conf for 127.0.0.1:PORT and the production snippets that it includes, with
# their socket and log moved into RUN. USER_LINE is empty or "user NAME;".
# Usage: nginx-config.sh RUN PORT [USER_LINE]
set -eu
run=$1
port=$2
user_line=${3:-}
in_sed=$(printf '%s\n' "$run" | sed 's/[&|\\]/\\&/g')
source=$(dirname "$0")/../nginx

for file in "$source"/health-api*; do
    sed -e "s|unix:/run/health-api/\([^ ]*\)|\"unix:$in_sed/\1\"|" -e "s|/var/log/nginx/\([^ ]*\)|\"$in_sed/nginx-\1\"|" \
        "$file" >"$run/${file##*/}"
done
sed -e "s|@RUN@|$in_sed|g" -e "s|@PORT@|$port|g" -e "s|@USER@|$user_line|" "$source/run.conf.in" >"$run/nginx.conf"
mkdir -p "$run/tmp"
