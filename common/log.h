/* Writes one logfmt line per event to stderr, in one write, and never blocks. When a full pipe does not
 * take a line, the log counts it, and the next line that gets through reports the count. Any thread. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are syslog's (RFC 5424, 6.2.1), which sd-daemon(3) uses for its "<N>" line prefix. */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARN = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

/* "error", "warn", "notice", "info" and "debug" at their numbers; NULL below those. */
extern const char *const log_level_names[LOG_LEVEL_DEBUG + 1];

/* Whether the journal reads from fd: JOURNAL_STREAM has its device and inode, systemd.exec(5). */
bool log_journal_reads(int fd);

/* The log drops lines above this level. When the journal reads stderr, lines begin with "<N>" and have no
 * time, because the journal adds one. */
void log_init(enum log_level max_level);

/* A key with its value. Use the helpers below to build one. A key is a literal: [a-z_]+. */
struct log_field {
    const char *key;
    const char *text; /* NULL: use number */
    int64_t number;
};
static inline const char *log_text(const char *text)
{
    return text != NULL ? text : "";
}
#define LOG_STR(k, v) ((struct log_field){.key = (k), .text = log_text(v)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .number = (int64_t)(v)})

/* event says what happened in a few words and is a literal. The log quotes values where needed. It escapes
 * quotes, backslashes and control characters in them, and writes bytes that are not printable ASCII as \xNN.
 * So no value can forge a line or control a terminal. The log cuts a line at 2 KiB. */
void log_write(enum log_level level, const char *event, const struct log_field *fields, int count);

/* For an event that may come very often: whether to log it now. True at once, and then once a minute.
 * *last_ns belongs to the event and begins at 0; the call sets it to now_ns when it returns true. */
bool log_is_due(int64_t *last_ns, int64_t now_ns);

/* Writes one line without a time or fields, at level error, for a signal handler that ends the process.
 * Uses poll(2) and write(2), which are async-signal-safe. Like every line, it is dropped if it would
 * block. */
void log_last_words(const char *event);

#define LOG_COUNT_(...) ((int)(sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)))
/* Needs at least one field: log_event(LOG_LEVEL_INFO, "listening", LOG_STR("path", p), LOG_INT("fd", fd)). */
#define log_event(level, event, ...)                                                                         \
    log_write((level), (event), (struct log_field[]){__VA_ARGS__}, LOG_COUNT_(__VA_ARGS__))

#endif
