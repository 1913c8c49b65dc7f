/* The settings. One table reads them from the environment, prints --help and fills /api/status. */
#ifndef CGI_CONFIG_H
#define CGI_CONFIG_H

#include "common/address.h"
#include "common/error.h"
#include "common/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What clients see that the web server does not name operators. */
enum public_view {
    PUBLIC_FULL, /* everything */
    PUBLIC_BARE, /* the status and nothing else */
};

#define CONFIG_DEFAULT_LISTEN "unix:/run/health-api/health-api.sock"

/* The value of HEALTH_DRAIN_FILE that means no file. */
#define CONFIG_DRAIN_OFF "off"

struct config {
    const char *listen; /* NULL: not set. All strings point into the environment */
    int64_t socket_mode;
    const char *socket_group; /* NULL: the group of the process */
    const char *checks_path;
    int64_t interval_ms;
    int64_t connect_timeout_ms;
    int64_t query_timeout_ms;
    int64_t reconnect_every_ms;
    int64_t stale_after_ms;
    int64_t heartbeat_ms; /* 0: once per interval */
    int64_t hung_after_ms;
    int64_t max_load; /* per cent of the server's time that each check may take */
    int64_t fall;
    int64_t rise;
    int64_t drain_ms;
    const char *drain_file; /* a path, or CONFIG_DRAIN_OFF; NULL: `drain` beside the socket */
    int64_t stop_timeout_ms;
    int64_t fd_limit;
    int64_t max_connections;
    int64_t idle_timeout_ms;
    enum public_view public_view;
    enum log_level log_level;
};

/* Fills *out from an array like environ(7). A variable that is absent or empty has its default. base_fds is
 * how many descriptors the program holds without a FastCGI connection. HEALTH_FD_LIMIT defaults to 80 % of
 * fd_soft_limit (RLIMIT_NOFILE), but at least to base_fds + 1. HEALTH_MAX_CONNECTIONS is cut to what
 * HEALTH_FD_LIMIT leaves. HEALTH_STALE_AFTER must exceed interval + connect timeout + query timeout.
 * False: err is "NAME='value': what was expected". */
__attribute__((warn_unused_result)) bool config_load(char *const *environ_vars, int64_t fd_soft_limit,
                                                     int base_fds, struct config *out, struct error *err);

/* The time between two pings of an idle session. */
int64_t config_heartbeat_ns(const struct config *config);

/* Gets HEALTH_LISTEN alone, as config_load does. *out is NULL when it is not set, and points into
 * environ_vars. False: err is "HEALTH_LISTEN='value': what was expected". */
__attribute__((warn_unused_result)) bool config_load_listen(char *const *environ_vars, const char **out,
                                                            struct error *err);

/* Finds the next variable in *vars (an array like environ(7)) that begins with HEALTH_ and is not a setting.
 * Copies its name to out, cut to out_size, and moves *vars past it. False: there is none. */
bool config_next_unknown(char *const **vars, char *out, size_t out_size);

/* Parses a value of HEALTH_LISTEN as address_parse does, and returns what it returns. TCP must be on
 * loopback, because FastCGI has no authentication. */
__attribute__((warn_unused_result)) const char *config_parse_listen(const char *text, struct address *out);

/* An operator's shell does not have the environment that systemd gives to the service. If there is a file
 * with it, and this process is not part of a unit, says so, and prints the command for the purpose (an
 * infinitive): health-api with this option, as the service. */
void config_print_unread_file(const char *purpose, const char *option, FILE *out);

/* Prints the settings for --help, one per line: name, default, meaning. */
void config_print_help(FILE *out);

/* Gets the name and the effective value of setting number i (from 0), for /api/status. False: there is no
 * such setting. None is a secret: libpq reads the password itself. */
bool config_get(const struct config *config, size_t i, const char **name, char *value, size_t value_size);

#endif
