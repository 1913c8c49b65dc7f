/* Computes the ages of recoveries across reboots, reads and replaces the state file, and takes the lock. Main
 * thread; owns nothing but the descriptor that state_lock returns. */
#include "watchdog/state.h"

#include "common/clock.h"
#include "common/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEADER            "health-watch state %d recoveries %zu\n"
#define VERSION           2 /* in version 1 a line did not say whether the recovery helped */
#define DEFAULT_DIRECTORY "/var/lib/health-watch"
#define FILE_MAX          16384
#define LOCK_POLL_NS      (50 * NS_PER_MS)
#define BOOT_ID_FILE      "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_CHARS     "0123456789abcdef-"

void state_now(struct state_time *out)
{
    struct buf text = {0};
    struct error err = {0};
    uint64_t start_ticks;
    *out = (struct state_time){.boot_ms = clock_now_ns() / NS_PER_MS, .wall_ms = clock_wall_ms()};
    snprintf(out->boot_id, sizeof out->boot_id, "unknown");
    if (buf_read_file(&text, BOOT_ID_FILE, 256, &err) && text.len >= STATE_BOOT_ID_SIZE - 1)
        snprintf(out->boot_id, sizeof out->boot_id, "%.*s", STATE_BOOT_ID_SIZE - 1, text.data);
    buf_free(&text);
    out->up_ms = out->boot_ms;
    if (holder_read_start(1, &start_ticks))
        out->up_ms = clock_wall_ms() - holder_start_wall_ms(start_ticks);
}

int64_t state_age_ms(const struct state_time *then, const struct state_time *now)
{
    int64_t age_ms = now->boot_ms - then->boot_ms;
    if (strcmp(then->boot_id, now->boot_id) != 0 || age_ms < 0) {
        age_ms = now->wall_ms - then->wall_ms;
        age_ms = age_ms < now->up_ms ? now->up_ms : age_ms;
    }
    return age_ms < 0 ? 0 : age_ms;
}

size_t state_count_recent(const struct state *state, const struct state_time *now, bool in_vain)
{
    size_t recent = 0;
    for (size_t i = 0; i < state->count; i++)
        recent += state_age_ms(&state->recoveries[i].when, now) < STATE_WINDOW_MS &&
                  !(in_vain && state->recoveries[i].helped);
    return recent;
}

int64_t state_last_age_ms(const struct state *state, const struct state_time *now)
{
    int64_t least_ms = INT64_MAX;
    for (size_t i = 0; i < state->count; i++) {
        int64_t age_ms = state_age_ms(&state->recoveries[i].when, now);
        least_ms = age_ms < least_ms ? age_ms : least_ms;
    }
    return least_ms;
}

static int compare_ms(const void *left, const void *right)
{
    const int64_t *a = left;
    const int64_t *b = right;
    return (*a > *b) - (*a < *b);
}

int64_t state_wait_ms(const struct state *state, const struct state_time *now, int64_t budget)
{
    int64_t ages_ms[STATE_MAX];
    for (size_t i = 0; i < state->count; i++)
        ages_ms[i] = state_age_ms(&state->recoveries[i].when, now);
    if (budget <= 0)
        return INT64_MAX;
    if ((size_t)budget > state->count)
        return 0;
    qsort(ages_ms, state->count, sizeof ages_ms[0], compare_ms);
    int64_t left_ms = STATE_WINDOW_MS - ages_ms[budget - 1];
    return left_ms > 0 ? left_ms : 0;
}

void state_add(struct state *state, const struct state_time *now)
{
    size_t kept = 0;
    for (size_t i = 0; i < state->count; i++)
        if (state_age_ms(&state->recoveries[i].when, now) < STATE_WINDOW_MS)
            state->recoveries[kept++] = state->recoveries[i];
    if (kept == STATE_MAX) {
        kept--;
        memmove(state->recoveries, state->recoveries + 1, kept * sizeof state->recoveries[0]);
    }
    state->recoveries[kept] = (struct state_recovery){.when = *now};
    state->count = kept + 1;
}

void state_set_helped(struct state *state, bool helped)
{
    state->recoveries[state->count - 1].helped = helped;
}

void state_drop_last(struct state *state)
{
    state->count--;
}

void state_format(const struct state *state, struct buf *out)
{
    buf_appendf(out, HEADER, VERSION, state->count);
    for (size_t i = 0; i < state->count; i++) {
        const struct state_time *t = &state->recoveries[i].when;
        buf_appendf(out, "%s %" PRId64 " %" PRId64 " %s\n", t->boot_id, t->boot_ms, t->wall_ms,
                    state->recoveries[i].helped ? "helped" : "failed");
    }
}

/* Parses the line at *at and moves *at past it. */
static bool parse_recovery(const char **at, int version, struct state_recovery *out)
{
    struct state_time *t = &out->when;
    char helped[8] = "failed";
    int used = 0;
    if (sscanf(*at, "%36[0-9a-z-] %" SCNd64 " %" SCNd64 "%n", t->boot_id, &t->boot_ms, &t->wall_ms, &used) !=
            3 ||
        used == 0 || t->boot_ms < 0 || t->wall_ms < -INT64_MAX / 2)
        return false;
    *at += used;
    used = 0;
    if (version > 1 && (sscanf(*at, " %7[a-z]%n", helped, &used) != 1 || used == 0))
        return false;
    out->helped = strcmp(helped, "helped") == 0;
    if ((*at)[used] != '\n' || (!out->helped && strcmp(helped, "failed") != 0))
        return false;
    *at += used + 1;
    return true;
}

bool state_parse(const char *text, size_t len, struct state *out)
{
    struct buf copy = {0};
    size_t count = 0;
    int version = 0;
    bool ok = false;
    *out = (struct state){0};
    buf_append(&copy, text, len);
    const char *at = copy.data;
    const char *newline = strchr(at, '\n');
    char header[64];
    if (strlen(at) != len || newline == NULL || sscanf(at, HEADER, &version, &count) != 2 || version < 1 ||
        version > VERSION || count > STATE_MAX)
        goto out;
    snprintf(header, sizeof header, HEADER, version, count);
    if (strncmp(at, header, strlen(header)) != 0)
        goto out;
    at = newline + 1;
    while (out->count < count && parse_recovery(&at, version, &out->recoveries[out->count]))
        out->count++;
    ok = out->count == count && *at == '\0';
out:
    if (!ok)
        *out = (struct state){0};
    buf_free(&copy);
    return ok;
}

bool state_load(const char *path, struct state *out, struct error *err)
{
    struct buf text = {0};
    struct stat st;
    bool ok = true;
    *out = (struct state){0};
    if (stat(path, &st) != 0 && errno == ENOENT)
        return true;
    if (!buf_read_file(&text, path, FILE_MAX, err)) {
        ok = false;
    } else if (!state_parse(text.data, text.len, out)) {
        error_set(err, "%s is damaged", path);
        ok = false;
    }
    buf_free(&text);
    return ok;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* The directory of path; "." if path has none. */
static void parent_of(const char *path, char *out, size_t out_size)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    len = len < out_size ? len : out_size - 1;
    memmove(out, len > 0 ? path : ".", len > 0 ? len : 1);
    out[len > 0 ? len : 1] = '\0';
}

/* Makes the rename survive a power failure. Some file systems refuse this, which is not an error. */
static void sync_parent(const char *path)
{
    char parent[4096];
    parent_of(path, parent, sizeof parent);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fsync(fd) != 0)
        errno = 0;
    close(fd);
}

bool state_save(const char *path, const struct state *state, struct error *err)
{
    struct buf text = {0};
    struct buf temporary = {0};
    bool ok = false;
    state_format(state, &text);
    buf_appendf(&temporary, "%s.new", path);
    /* Only the holder of the lock writes, so a file that exists is from a run that was killed. */
    unlink(temporary.data);
    int fd = open(temporary.data, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0 && write_all(fd, text.data, text.len) && fsync(fd) == 0)
        ok = rename(temporary.data, path) == 0;
    if (!ok) {
        error_set(err, "%s: %s", temporary.data, strerror(errno));
        unlink(temporary.data);
    }
    if (fd >= 0)
        close(fd);
    if (ok)
        sync_parent(path);
    buf_free(&temporary);
    buf_free(&text);
    return ok;
}

void state_path(const char *state_file, const char *unit, char *out, size_t out_size)
{
    const char *directory = getenv("STATE_DIRECTORY");
    if (directory == NULL || directory[0] != '/')
        directory = DEFAULT_DIRECTORY;
    /* STATE_DIRECTORY may list several directories, separated by colons; ours is the first. */
    if (state_file != NULL)
        snprintf(out, out_size, "%s", state_file);
    else
        snprintf(out, out_size, "%.*s/%s.state", (int)strcspn(directory, ":"), directory, unit);
}

bool state_can_write(const char *path)
{
    char parent[4096];
    parent_of(path, parent, sizeof parent);
    if (access(parent, W_OK) == 0)
        return true;
    int error = errno;
    parent_of(parent, parent, sizeof parent); /* state_lock creates the last directory */
    bool can_make = error == ENOENT && access(parent, W_OK) == 0;
    errno = error;
    return can_make;
}

static bool lock_within(int fd, int64_t wait_ms)
{
    int64_t deadline_ns = clock_now_ns() + wait_ms * NS_PER_MS;
    const struct timespec pause = {.tv_nsec = LOCK_POLL_NS};
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || clock_now_ns() >= deadline_ns)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

enum state_lock state_lock(const char *path, int64_t wait_ms, int *out, struct error *err)
{
    struct buf name = {0};
    char parent[4096];
    enum state_lock result = STATE_LOCKED;
    buf_appendf(&name, "%s.lock", path);
    parent_of(path, parent, sizeof parent);
    (void)mkdir(parent, 0755); /* if it fails and the directory is missing, open reports that */
    *out = open(name.data, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (*out < 0 || !lock_within(*out, wait_ms)) {
        bool is_taken = *out >= 0 && errno == EWOULDBLOCK;
        error_set(err, "%s: %s", name.data, is_taken ? "another run holds the lock" : strerror(errno));
        result = is_taken ? STATE_TAKEN : STATE_NO_LOCK;
        if (*out >= 0)
            close(*out);
        *out = -1;
    }
    buf_free(&name);
    return result;
}
