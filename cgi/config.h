/* The settings: environment -> struct config, by one table that also prints --help and fills /api/status. */
#ifndef CGI_CONFIG_H
#define CGI_CONFIG_H

#include "common/address.h"
#include "common/error.h"
#include "common/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_DEFAULT_LISTEN "unix:/run/health-api/health-api.sock"

struct config {
    const char *listen; /* NULL: not set. Points into the environment, as the other strings do */
    int64_t socket_mode;
    const char *socket_group; /* NULL: keep the process's group */
    const char *checks_path;
    int64_t interval_ms;
    int64_t connect_timeout_ms;
    int64_t query_timeout_ms;
    int64_t reconnect_every_ms;
    int64_t stale_after_ms;
    int64_t heartbeat_ms; /* 0: once per interval */
    int64_t hung_after_ms;
    int64_t max_load; /* per cent of one processor of the server, of each check */
    int64_t fall;
    int64_t rise;
    int64_t drain_ms;
    int64_t stop_timeout_ms;
    int64_t fd_limit;
    int64_t max_connections;
    int64_t idle_timeout_ms;
    enum log_level log_level;
};

/* Fills *out from environ (an array as in environ(7)); defaults where a variable is absent or empty.
 * fd_soft_limit is RLIMIT_NOFILE, of which HEALTH_FD_LIMIT defaults to 80 %, but not to less than what the
 * program needs: base_fds, the descriptors that it holds without any FastCGI connection, and one.
 * HEALTH_MAX_CONNECTIONS is cut to what HEALTH_FD_LIMIT leaves. False: err is "NAME='value': what was
 * expected". HEALTH_STALE_AFTER must exceed interval + connect timeout + query timeout. */
__attribute__((warn_unused_result)) bool config_load(char *const *environ_vars, int64_t fd_soft_limit,
                                                     int base_fds, struct config *out, struct error *err);

/* Steps *vars (an array as in environ(7)) past the next variable that begins with HEALTH_ and is no setting;
 * its name, cut if need be, goes to out. False: there is no more. */
bool config_next_unknown(char *const **vars, char *out, size_t out_size);

/* What HEALTH_LISTEN may name: an address that address_parse takes, TCP on loopback only, for FastCGI has no
 * authentication of its own. Returns as that does. */
__attribute__((warn_unused_result)) const char *config_parse_listen(const char *text, struct address *out);

/* The settings for --help, one per line: name, default, meaning. */
void config_print_help(FILE *out);

/* Setting number i (0..) as its name and effective value, for /api/status. False past the last. Holds no
 * secrets: passwords are libpq's own and never in struct config. */
bool config_get(const struct config *config, size_t i, const char **name, char *value, size_t value_size);

#endif
