/* The memory of recoveries: how many of late, how long ago the last. A small text file that survives restarts
 * and reboots, and the lock that keeps two runs apart. Main thread. */
#ifndef WATCHDOG_STATE_H
#define WATCHDOG_STATE_H

#include "common/buf.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many recoveries are remembered; above any budget. */
#define STATE_MAX 64

/* The window of the budget. */
#define STATE_WINDOW_MS (INT64_C(60) * 60 * 1000)

#define STATE_BOOT_ID_SIZE 37

/* A moment on both clocks: that of this boot, which nobody sets, and the wall clock. */
struct state_time {
    char boot_id[STATE_BOOT_ID_SIZE]; /* /proc/sys/kernel/random/boot_id */
    int64_t boot_ms;                  /* since boot, CLOCK_BOOTTIME */
    int64_t wall_ms;                  /* since 1970 */
};

struct state {
    size_t count;
    struct state_time recoveries[STATE_MAX]; /* the oldest first */
};

void state_now(struct state_time *out);

/* How long ago then was, never negative. Within one boot the wall clock does not matter. Across a reboot its
 * difference counts, but at least the time since boot: so a clock that was set back cannot hold up recoveries
 * for longer than the machine runs, and one that was set forward at most forgets those before the reboot. */
int64_t state_age_ms(const struct state_time *then, const struct state_time *now);

/* Recoveries in the last STATE_WINDOW_MS. */
size_t state_count_recent(const struct state *state, const struct state_time *now);

/* Age of the last recovery, INT64_MAX when there is none. */
int64_t state_last_age_ms(const struct state *state, const struct state_time *now);

/* How long until a recovery leaves the window, so that the budget has room again; 0 when it has. */
int64_t state_wait_ms(const struct state *state, const struct state_time *now, int64_t budget);

/* Appends now, after dropping what is older than the window (and the oldest when full). */
void state_add(struct state *state, const struct state_time *now);

/* The file's text and back, pure. False: damaged; *out is then empty. */
void state_format(const struct state *state, struct buf *out);
__attribute__((warn_unused_result)) bool state_parse(const char *text, size_t len, struct state *out);

/* A missing file is an empty state. False: unreadable or damaged, *out is empty and err says why; the caller
 * warns and goes on. */
__attribute__((warn_unused_result)) bool state_load(const char *path, struct state *out, struct error *err);

/* Writes the file anew, all of it or nothing (temporary file, fsync, rename, fsync of the directory). */
__attribute__((warn_unused_result)) bool state_save(const char *path, const struct state *state,
                                                    struct error *err);

/* Takes the lock PATH.lock, waiting at most wait_ms for another run; makes PATH's directory if only that is
 * missing. Returns a descriptor that holds the lock until it is closed, or -1 with err filled. */
int state_lock(const char *path, int64_t wait_ms, struct error *err);

#endif
