/* The file that says what to watch: text -> struct watch, a pure function whose errors name the line. */
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
    WATCH_CORE, /* decides: failing is critical */
    WATCH_AUX,  /* only reported: failing is a warning */
};

struct watch_route {
    enum watch_class class;
    const char *path;       /* as sent, query included */
    const char *codes_text; /* NULL: the file's codes */
    struct value_codes codes;
    int64_t timeout_ms;
    const char *json_key; /* the body must be JSON with json_value there ("a.b" is b in a); NULL: any body */
    const char *json_value;
    bool follow;   /* redirects */
    bool liveness; /* decides whether the backend hangs; never for aux */
    int line;
};

/* How a listener is asked whether it answers. */
enum watch_protocol { WATCH_NOT_ASKED, WATCH_FASTCGI, WATCH_HTTP };

struct watch {
    char *text;      /* of the file: what is const here and in the routes points into it, or is a default */
    const char *url; /* base_url as written */
    char *base_url;  /* scheme, host, port, prefix, without a slash at the end; "http://localhost" for a Unix
                        path */
    const char *unix_path; /* connect to this socket instead; NULL: by base_url */
    const char *host;      /* Host header; NULL: from base_url */
    const char *ca_file;   /* NULL: the system's certificates */
    const char *user_agent;
    const char *service;          /* unit as written */
    char *unit;                   /* with its suffix .service; NULL: nothing to recover */
    const char *listener;         /* as written; NULL: none */
    const char *state_file;       /* NULL: the default */
    const char *codes;            /* as written, of routes that name none */
    struct address socket;        /* the listener: must be the unit's own */
    struct address base;          /* of base_url, where that names an address of this machine by its number */
    enum watch_protocol protocol; /* of the listener */
    int64_t tries;
    int64_t retry_wait_ms;
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* of a whole request */
    int64_t concurrency;
    int64_t budget; /* recoveries in any hour */
    int64_t start_grace_ms;
    int64_t cooldown_ms;
    int64_t restart_wait_ms;
    unsigned int evict_rogue; /* 1: yes */
    struct watch_route *routes;
    size_t route_count;
};

/* Parses text[0..len). False: err is "FILE:LINE: what, expected what" and *out is empty. On success routes
 * have their effective codes, timeout and liveness: when no route is marked liveness, all core routes are.
 * The caller frees with watchfile_free. */
__attribute__((warn_unused_result)) bool watchfile_parse(const char *text, size_t len, const char *file,
                                                         struct watch *out, struct error *err);

void watchfile_free(struct watch *watch);

/* The keys for --help, one per line: name, default, meaning. */
void watchfile_print_keys(FILE *out);

/* Whether base_url is the listener itself: no proxy is in between. */
bool watchfile_is_direct(const struct watch *watch);

const char *watchfile_class_name(enum watch_class class);

#endif
