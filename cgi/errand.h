/* A function on a thread of its own, because it may block without a limit. The thread is detached: the thread
 * or its starter frees the data, whichever finishes last. */
#ifndef CGI_ERRAND_H
#define CGI_ERRAND_H

#include "common/error.h"

struct errand;

struct errand_kind {
    const char *name; /* for errors */
    void (*run)(void *data);
    void (*free)(void *data);
};

/* Starts the thread. Takes over data, and frees it with kind->free. kind must be static. NULL: err says why;
 * the system has no thread or descriptor left. */
struct errand *errand_start(const struct errand_kind *kind, void *data, struct error *err);

/* An eventfd that is readable once the errand has ended. Owned by the errand. */
int errand_fd(const struct errand *errand);

/* Returns the data once the errand has ended: the thread no longer touches it. Returns NULL before. */
void *errand_result(const struct errand *errand);

/* Returns the data at any time. The caller may read what the thread does not write, or writes atomically. */
const void *errand_data(const struct errand *errand);

/* Gives up the starter's reference, also before the errand has ended. NULL is fine. */
void errand_release(struct errand *errand);

#endif
