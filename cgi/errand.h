/* A function on a thread of its own, because what it calls may block for as long as the system likes. Nobody
 * joins that thread: its data is freed when both it and the one who started it are done. */
#ifndef CGI_ERRAND_H
#define CGI_ERRAND_H

#include "common/error.h"

struct errand;

struct errand_kind {
    const char *name; /* for errors */
    void (*run)(void *data);
    void (*free)(void *data);
};

/* Takes over data, which kind->free frees. kind must live for ever. NULL with err: no thread or descriptor is
 * left. */
struct errand *errand_start(const struct errand_kind *kind, void *data, struct error *err);

/* Readable as soon as it has ended. Owned by the errand. */
int errand_fd(const struct errand *errand);

/* Its data once it has ended, which the thread does not touch any more; NULL before. */
void *errand_result(const struct errand *errand);

/* Its data at any time: for what the thread does not write, or writes atomically. */
const void *errand_data(const struct errand *errand);

/* Whether it has ended or not. NULL is fine. */
void errand_release(struct errand *errand);

#endif
