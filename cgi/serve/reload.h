/* Reads the checks file again after SIGHUP, in an errand, because its file system may hang. Main thread. */
#ifndef SERVE_RELOAD_H
#define SERVE_RELOAD_H

#include "cgi/checks.h"
#include "cgi/errand.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Descriptors that a reload opens: the checks file, and the descriptor of the errand that reads it. */
#define RELOAD_FDS 2

/* {.path = p} before the first reload; path stays the caller's. Other files may read error. */
struct reload {
    const char *path;
    bool is_due;            /* SIGHUP came; a reading under way may have missed the change */
    struct errand *reading; /* NULL: none is under way */
    int64_t late_ns;        /* CLOCK_NEVER: the log has reported it already */
    int hung;               /* how many hung threads in a row were abandoned */
    struct error error;     /* why the last reload was refused or is late; "" if it was not */
};

/* A reload is due. Many requests at once are one reload. */
void reload_request(struct reload *reload);

/* Begins the reload that is due, unless a reading is under way. If that one is late, abandons its thread. The
 * epoll set reports the end of the reading with the reload as the tag. False: nothing has begun. */
bool reload_begin(struct reload *reload, int epoll_fd, int64_t now_ns);

/* Whether the service manager should wait for a reload. It does not wait for one that is late. */
bool reload_is_awaited(const struct reload *reload);

/* Call it once a second. Logs a reading that is late. */
void reload_tick(struct reload *reload, int64_t now_ns);

enum reload_result {
    RELOAD_NOTHING, /* no reading has ended */
    RELOAD_REFUSED, /* the log and error say why */
    RELOAD_READ,
};

/* Takes what has been read. RELOAD_READ: the caller owns *out. */
enum reload_result reload_take(struct reload *reload, int epoll_fd, struct checks *out);

/* Gives up a reading that is under way. */
void reload_close(struct reload *reload);

#endif
