/* Parses the watch file, which says what to watch, into struct watch. Pure; errors name the line. */
#ifndef WATCHDOG_WATCHFILE_H
#define WATCHDOG_WATCHFILE_H

#include "common/error.h"
#include "watchdog/value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WATCHFILE_MAX_BYTES  262144
#define WATCHFILE_MAX_ROUTES 256

enum watch_class {
    WATCH_CORE, /* a failure is critical */
    WATCH_AUX,  /* a failure is a warning */
};

struct watch_route {
    enum watch_class class;
    const char *path;       /* as sent, with the query */
    const char *codes_text; /* NULL: the codes of struct watch apply */
    struct value_codes codes;
    int64_t timeout_ms;
    const char *json_key; /* the JSON body must have json_value there ("a.b" is b in a); NULL: any body */
    const char *json_value;
    bool follow;   /* follow redirects */
    bool liveness; /* its silence means that the backend hangs; core routes only */
    int line;
};

/* The protocol in which health-watch asks the listener. */
enum watch_protocol { WATCH_NOT_ASKED, WATCH_FASTCGI, WATCH_HTTP };

struct watch {
    char *text;      /* of the file; the const strings here and in the routes point into it or are defaults */
    const char *url; /* base_url as written */
    char *base_url;  /* without a slash at the end; "http://localhost" for a Unix path */
    const char *unix_path; /* connect to this socket; NULL: connect to the host of base_url */
    const char *host;      /* Host header; NULL: from base_url */
    const char *ca_file;   /* NULL: the system's certificates */
    const char *user_agent;
    const char *service;          /* unit as written */
    char *unit;                   /* with the suffix .service; NULL: recover nothing */
    const char *listener;         /* as written; NULL: none */
    const char *state_file;       /* NULL: the default */
    const char *codes;            /* as written, for routes without the option codes */
    struct address socket;        /* the listener, which only the unit may hold; len 0: none */
    struct address base;          /* of base_url; len 0: its host is a name */
    enum watch_protocol protocol; /* of the listener */
    int64_t tries;
    int64_t retry_wait_ms;
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* for a complete request */
    int64_t concurrency;
    int64_t budget; /* recoveries per hour */
    int64_t start_grace_ms;
    int64_t cooldown_ms;
    int64_t restart_wait_ms;
    unsigned int evict_rogue; /* 1: yes */
    struct watch_route *routes;
    size_t route_count;
};

/* Parses text[0..len). On success each route has its effective codes, timeout and liveness: if no route has
 * the option liveness, all core routes get it; the caller frees *out with watchfile_free. False: err is
 * "FILE:LINE: what, expected what" and *out is empty. */
__attribute__((warn_unused_result)) bool watchfile_parse(const char *text, size_t len, const char *file,
                                                         struct watch *out, struct error *err);

void watchfile_free(struct watch *watch);

/* Prints the keys for --help, one per line: name, default, meaning. */
void watchfile_print_keys(FILE *out);

/* Whether base_url is the listener itself, without a proxy in between. */
bool watchfile_is_direct(const struct watch *watch);

const char *watchfile_class_name(enum watch_class class);

#endif
