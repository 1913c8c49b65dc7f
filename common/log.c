/* The log: formats one logfmt line per event on the caller's stack and writes it in one piece. Any thread
 * after log_init: the settings do not change any more, and the count of dropped lines is atomic. Owns no
 * descriptor; fd 2 belongs to the process. */
#include "common/log.h"

#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Below PIPE_BUF (pipe(7)): when poll(2) says that a pipe is writable, a write of this size does not
 * block, and is whole. */
#define LINE_SIZE 2048

/* Kept free for the end of a cut line: three dots, a quote, the newline. */
#define LINE_TAIL 5

struct line {
    size_t len;
    bool cut; /* nothing more fits */
    char text[LINE_SIZE];
};

const char *const log_level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

static enum log_level log_max_level = LOG_LEVEL_INFO;
static bool log_to_journal;
static atomic_uint_fast64_t log_dropped;

bool log_journal_reads(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    if (stream == NULL || fstat(fd, &st) != 0)
        return false;
    char expected[64];
    snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, expected) == 0;
}

void log_init(enum log_level max_level)
{
    log_max_level = max_level;
    log_to_journal = log_journal_reads(STDERR_FILENO);
}

/* Appends all of the bytes. If they do not fit, appends dots, and nothing after that. */
static void line_put(struct line *line, const char *bytes, size_t len)
{
    if (line->cut)
        return;
    if (line->len + len > LINE_SIZE - LINE_TAIL) {
        memcpy(line->text + line->len, "...", 3);
        line->len += 3;
        line->cut = true;
        return;
    }
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
}

static void line_put_str(struct line *line, const char *text)
{
    line_put(line, text, strlen(text));
}

static bool is_plain(char c)
{
    return c > ' ' && c <= '~' && c != '"' && c != '\\' && c != '=';
}

static void line_put_escaped(struct line *line, char c)
{
    char escaped[8];
    switch (c) {
    case '"': line_put_str(line, "\\\""); return;
    case '\\': line_put_str(line, "\\\\"); return;
    case '\n': line_put_str(line, "\\n"); return;
    case '\r': line_put_str(line, "\\r"); return;
    case '\t': line_put_str(line, "\\t"); return;
    default: break;
    }
    if (c >= ' ' && c <= '~') {
        line_put(line, &c, 1);
        return;
    }
    snprintf(escaped, sizeof escaped, "\\x%02x", (unsigned)(unsigned char)c);
    line_put_str(line, escaped);
}

static void line_put_quoted(struct line *line, const char *value)
{
    line_put(line, "\"", 1);
    if (line->cut)
        return;
    for (; *value != '\0' && !line->cut; value++)
        line_put_escaped(line, *value);
    line->text[line->len++] = '"'; /* also on a cut line: LINE_TAIL has room for it */
}

static void line_put_value(struct line *line, const char *value)
{
    size_t plain = 0;
    while (is_plain(value[plain]))
        plain++;
    if (plain > 0 && value[plain] == '\0')
        line_put(line, value, plain);
    else
        line_put_quoted(line, value);
}

static void line_put_field(struct line *line, const struct log_field *field)
{
    line_put(line, " ", 1);
    line_put_str(line, field->key);
    line_put(line, "=", 1);
    if (field->text != NULL) {
        line_put_value(line, field->text);
        return;
    }
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, field->number);
    line_put_str(line, number);
}

static void line_put_time(struct line *line)
{
    char now[CLOCK_ISO_SIZE];
    clock_format_iso(clock_wall_ms(), now);
    line_put_str(line, "time=");
    line_put_str(line, now);
    line_put_str(line, " ");
}

static void line_put_priority(struct line *line, enum log_level level)
{
    const char priority[] = {'<', (char)('0' + (int)level), '>'};
    line_put(line, priority, sizeof priority);
}

static void line_put_event(struct line *line, enum log_level level, const char *event)
{
    line_put_str(line, "level=");
    line_put_str(line, log_level_names[level]);
    line_put_str(line, " event=");
    line_put_quoted(line, event);
}

/* Returns whether stderr has taken all of it. Never waits. Does not write to a pipe whose reader is gone,
 * so it causes no SIGPIPE. */
static bool write_now(const char *text, size_t len)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || ready.revents != POLLOUT)
        return false;
    return write(STDERR_FILENO, text, len) == (ssize_t)len;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, int count)
{
    if (level > log_max_level)
        return;
    int saved_errno = errno;
    struct line line;
    line.len = 0;
    line.cut = false;
    if (log_to_journal)
        line_put_priority(&line, level);
    else
        line_put_time(&line);
    line_put_event(&line, level, event);
    uint64_t dropped = atomic_exchange(&log_dropped, 0);
    if (dropped > 0)
        line_put_field(&line, &LOG_INT("dropped", dropped));
    for (int i = 0; i < count; i++)
        line_put_field(&line, &fields[i]);
    line.text[line.len++] = '\n';
    if (!write_now(line.text, line.len))
        atomic_fetch_add(&log_dropped, dropped + 1);
    errno = saved_errno;
}

bool log_is_due(int64_t *last_ns, int64_t now_ns)
{
    bool is_due = *last_ns == 0 || now_ns >= *last_ns + 60 * NS_PER_S;
    if (is_due)
        *last_ns = now_ns;
    return is_due;
}

void log_last_words(const char *event)
{
    struct line line;
    line.len = 0;
    line.cut = false;
    if (log_to_journal)
        line_put_priority(&line, LOG_LEVEL_ERROR);
    line_put_event(&line, LOG_LEVEL_ERROR, event);
    line.text[line.len++] = '\n';
    (void)write_now(line.text, line.len);
}
