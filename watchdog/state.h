/* Remembers recoveries for the budget and the cooldown, in a small text file that survives reboots; and holds
 * the lock that keeps two runs apart. Main thread. */
#ifndef WATCHDOG_STATE_H
#define WATCHDOG_STATE_H

#include "common/buf.h"
#include "common/error.h"
#include "common/quantity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The state file keeps this many recoveries; no budget is larger. */
#define STATE_MAX 64

/* The budget counts the recoveries within this window. */
#define STATE_WINDOW_MS HOUR_MS

#define STATE_BOOT_ID_SIZE 37

/* A moment on two clocks: the boot clock, which nobody can set, and the wall clock. */
struct state_time {
    char boot_id[STATE_BOOT_ID_SIZE]; /* /proc/sys/kernel/random/boot_id */
    int64_t boot_ms;                  /* since boot, CLOCK_BOOTTIME */
    int64_t wall_ms;                  /* since 1970 */
    int64_t up_ms; /* since pid 1 started; in a container, boot_id and the boot clock are the host's */
};

struct state {
    size_t count;
    struct state_recovery {
        struct state_time when;
        bool helped;         /* the unit answered after it */
    } recoveries[STATE_MAX]; /* the oldest first */
};

void state_now(struct state_time *out);

/* Returns how long ago then was; never negative. Within one boot it uses the boot clock alone. Across a
 * reboot it uses the wall clock, but never less than the time since pid 1 started: so a wall clock that was
 * set back cannot prevent recoveries for longer than the machine is up, and one that was set forward only
 * makes the program forget recoveries before the reboot. If the boot clock runs backwards within one boot,
 * this is another container, which counts as a reboot. */
int64_t state_age_ms(const struct state_time *then, const struct state_time *now);

/* Counts the recoveries in the last STATE_WINDOW_MS; in_vain: only those after which the unit did not answer.
 */
size_t state_count_recent(const struct state *state, const struct state_time *now, bool in_vain);

/* Returns the age of the last recovery; INT64_MAX: there is none. */
int64_t state_last_age_ms(const struct state *state, const struct state_time *now);

/* Returns how long the budget stays spent; 0: it has room now. */
int64_t state_wait_ms(const struct state *state, const struct state_time *now, int64_t budget);

/* Appends a recovery at now. Drops those older than the window, and the oldest one if there are STATE_MAX. */
void state_add(struct state *state, const struct state_time *now);

/* state_set_helped notes whether the last recovery helped; state_drop_last removes one that was not
 * attempted. */
void state_set_helped(struct state *state, bool helped);
void state_drop_last(struct state *state);

/* Convert between the state and the text of its file. False: the text is damaged, and *out is empty. Pure. */
void state_format(const struct state *state, struct buf *out);
__attribute__((warn_unused_result)) bool state_parse(const char *text, size_t len, struct state *out);

/* Reads the file; a missing file is an empty state. False: it is unreadable or damaged, *out is empty and err
 * says why; the caller warns and continues. */
__attribute__((warn_unused_result)) bool state_load(const char *path, struct state *out, struct error *err);

/* Replaces the file in one step: temporary file, fsync, rename, fsync of the directory. */
__attribute__((warn_unused_result)) bool state_save(const char *path, const struct state *state,
                                                    struct error *err);

/* The path of the state file: state_file if the watch file sets it, else a file in the directory that systemd
 * has created (STATE_DIRECTORY, systemd.exec(5)), else one in /var/lib/health-watch. */
void state_path(const char *state_file, const char *unit, char *out, size_t out_size);

/* Whether this process can create PATH and its lock; errno says why not. Creates nothing. */
bool state_can_write(const char *path);

enum state_lock {
    STATE_LOCKED,
    STATE_TAKEN,   /* another run held the lock for longer than wait_ms */
    STATE_NO_LOCK, /* the lock cannot be created, so neither can the state file: recover nothing */
};

/* Takes the lock PATH.lock, and waits at most wait_ms for another run. Creates the directory of PATH if its
 * parent exists. STATE_LOCKED: the descriptor *out holds the lock until the caller closes it. Otherwise *out
 * is -1 and err says why. */
__attribute__((warn_unused_result)) enum state_lock state_lock(const char *path, int64_t wait_ms, int *out,
                                                               struct error *err);

#endif
