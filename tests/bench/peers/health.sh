#!/bin/sh
# A shell script for fcgiwrap as many sites have it, with one psql per request. For `make bench`.
counts=$(psql -XAtq -c "SELECT json_build_object(
    'hypotheses', (SELECT count(*) FROM hypotheses), 'analyses', (SELECT count(*) FROM analyses),
    'entities', (SELECT count(*) FROM entities), 'edges', (SELECT count(*) FROM edges),
    'debates', (SELECT count(*) FROM debates))") || {
    printf 'Status: 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n{"status":"degraded"}\n'
    exit
}
printf 'Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{"status":"healthy","counts":%s}\n' "$counts"
