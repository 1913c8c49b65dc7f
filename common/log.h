/* One logfmt line per event on stderr, in one write, never blocking: a line that a full pipe does not take is
 * counted and the count is reported by the next line that gets through. Any thread. */
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

/* "error", "warn", "notice", "info" and "debug" by their numbers, NULL below. */
extern const char *const log_level_names[LOG_LEVEL_DEBUG + 1];

/* Whether the journal reads from fd: JOURNAL_STREAM names its device and inode, systemd.exec(5). */
bool log_journal_reads(int fd);

/* Lines above this level are dropped. When the journal reads stderr, lines begin with "<N>" and carry no time
 * of their own. */
void log_init(enum log_level max_level);

/* A key with its value; build with the helpers below. Keys are literals: [a-z_]+. */
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

/* event: what happened, in a few words, a literal. Values are quoted when they must be; quotes, backslashes
 * and control characters in them are escaped, bytes that are not printable ASCII as \xNN (so nobody can forge
 * a line or steer a terminal). A line is cut at 2 KiB. */
void log_write(enum log_level level, const char *event, const struct log_field *fields, int count);

/* For an event that may come very often: whether it is to be logged now, at once and then once a minute.
 * last_ns is the event's own, 0 at first; it becomes now_ns. */
bool log_is_due(int64_t *last_ns, int64_t now_ns);

/* One line without a time or fields, at level error, for a signal handler that ends the process. As
 * async-signal-safe as poll(2) and write(2); like every line it is dropped where it would block. */
void log_last_words(const char *event);

#define LOG_COUNT_(...) ((int)(sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)))
/* log_event(LOG_LEVEL_INFO, "listening", LOG_STR("path", p), LOG_INT("fd", fd)): at least one field. */
#define log_event(level, event, ...)                                                                         \
    log_write((level), (event), (struct log_field[]){__VA_ARGS__}, LOG_COUNT_(__VA_ARGS__))

#endif
