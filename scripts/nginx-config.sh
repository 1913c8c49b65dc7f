#!/bin/sh
# Writes an nginx.conf for 127.0.0.1:PORT into the directory RUN, and the production files that it includes. Their
# socket and log are in RUN, too. USER_LINE is empty or "user NAME;".
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
