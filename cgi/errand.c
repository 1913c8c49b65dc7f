/* Runs a function on a detached thread. The thread and its starter each hold a reference to the errand; the
 * last one to release it frees it. Any thread may start an errand. */
#include "cgi/errand.h"

#include "common/buf.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct errand {
    const struct errand_kind *kind;
    void *data; /* belongs to the thread until has_ended is set, then to the starter */
    atomic_uint references;
    atomic_bool has_ended;
    int fd;
};

static void *run_errand(void *context)
{
    struct errand *e = context;
    e->kind->run(e->data);
    atomic_store(&e->has_ended, true);
    (void)!eventfd_write(e->fd, 1);
    errand_release(e);
    return NULL;
}

struct errand *errand_start(const struct errand_kind *kind, void *data, struct error *err)
{
    struct errand *e = mem_calloc(1, sizeof *e);
    const char *errpos = "eventfd";
    pthread_t thread;
    int failure;

    e->kind = kind;
    e->data = data;
    atomic_init(&e->has_ended, false);
    atomic_init(&e->references, 1);
    e->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    failure = e->fd < 0 ? errno : 0;
    if (failure == 0) {
        errpos = "pthread_create";
        atomic_store(&e->references, 2);
        failure = pthread_create(&thread, NULL, run_errand, e);
    }
    if (failure != 0) {
        error_set(err, "%s: %s: %s", kind->name, errpos, strerror(failure));
        atomic_store(&e->references, 1); /* no thread holds one */
        errand_release(e);
        return NULL;
    }
    pthread_detach(thread);
    return e;
}

int errand_fd(const struct errand *e)
{
    return e->fd;
}

void *errand_result(const struct errand *e)
{
    return atomic_load(&e->has_ended) ? e->data : NULL;
}

const void *errand_data(const struct errand *e)
{
    return e->data;
}

void errand_release(struct errand *e)
{
    if (e == NULL || atomic_fetch_sub(&e->references, 1) > 1)
        return;
    if (e->fd >= 0)
        close(e->fd);
    e->kind->free(e->data);
    free(e);
}
