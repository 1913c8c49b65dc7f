/* The memory of recoveries: how many of late, how long ago the last. A small text file that survives restarts
 * and reboots, and the lock that keeps two runs apart. Main thread. */
#ifndef WATCHDOG_STATE_H
#define WATCHDOG_STATE_H

#include "common/buf.h"
#include "common/error.h"
#include "common/quantity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many recoveries are remembered; above any budget. */
#define STATE_MAX 64

/* The window of the budget. */
#define STATE_WINDOW_MS HOUR_MS

#define STATE_BOOT_ID_SIZE 37

/* A moment on both clocks: that of this boot, which nobody sets, and the wall clock. */
struct state_time {
    char boot_id[STATE_BOOT_ID_SIZE]; /* /proc/sys/kernel/random/boot_id */
    int64_t boot_ms;                  /* since boot, CLOCK_BOOTTIME */
    int64_t wall_ms;                  /* since 1970 */
    int64_t up_ms; /* how long pid 1 runs: in a container, whose boot_id and clock of boot are
                      its host's, since that was started */
};

struct state {
    size_t count;
    struct state_recovery {
        struct state_time when;
        bool helped;         /* the unit did answer after it */
    } recoveries[STATE_MAX]; /* the oldest first */
};

void state_now(struct state_time *out);

/* How long ago then was, never negative. Within one boot the wall clock does not matter. Across a reboot its
 * difference counts, but at least the time since pid 1 was started: so a clock that was set back cannot hold
 * up recoveries for longer than the machine runs, and one that was set forward at most forgets those before
 * the reboot. A clock of boot that runs backwards within one boot is another container's: that is a reboot,
 * too. */
int64_t state_age_ms(const struct state_time *then, const struct state_time *now);

/* Recoveries in the last STATE_WINDOW_MS; in_vain: only those after which the unit did not answer. */
size_t state_count_recent(const struct state *state, const struct state_time *now, bool in_vain);

/* Age of the last recovery, INT64_MAX when there is none. */
int64_t state_last_age_ms(const struct state *state, const struct state_time *now);

/* How long until a recovery leaves the window, so that the budget has room again; 0 when it has. */
int64_t state_wait_ms(const struct state *state, const struct state_time *now, int64_t budget);

/* Appends now, after dropping what is older than the window (and the oldest when full). */
void state_add(struct state *state, const struct state_time *now);

/* Tells how the last one ended, or takes it back: it was not made. */
void state_set_helped(struct state *state, bool helped);
void state_drop_last(struct state *state);

/* The file's text and back, pure. False: damaged; *out is then empty. */
void state_format(const struct state *state, struct buf *out);
__attribute__((warn_unused_result)) bool state_parse(const char *text, size_t len, struct state *out);

/* A missing file is an empty state. False: unreadable or damaged, *out is empty and err says why; the caller
 * warns and goes on. */
__attribute__((warn_unused_result)) bool state_load(const char *path, struct state *out, struct error *err);

/* Writes the file anew, all of it or nothing (temporary file, fsync, rename, fsync of the directory). */
__attribute__((warn_unused_result)) bool state_save(const char *path, const struct state *state,
                                                    struct error *err);

/* Where the file is: as the watch file says, else in the directory that systemd has made for us
 * (STATE_DIRECTORY, systemd.exec(5)), else in /var/lib/health-watch. */
void state_path(const char *state_file, const char *unit, char *out, size_t out_size);

/* Whether PATH and its lock can be made; errno says why not. Makes nothing. */
bool state_can_write(const char *path);

enum state_lock {
    STATE_LOCKED,
    STATE_TAKEN,   /* by another run, for longer than wait_ms */
    STATE_NO_LOCK, /* it cannot be made here: nothing that must be remembered may be done */
};

/* Takes the lock PATH.lock, waiting at most wait_ms for another run; makes PATH's directory if only that is
 * missing. STATE_LOCKED: *out holds it until it is closed, and PATH can be written beside it; else it is -1
 * and err says why. */
__attribute__((warn_unused_result)) enum state_lock state_lock(const char *path, int64_t wait_ms, int *out,
                                                               struct error *err);

#endif
