/* One thread for each lookup. It and the one who started it each hold a reference. */
#include "cgi/probe/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct lookup {
    atomic_uint references;
    atomic_bool has_ended; /* the thread writes found and error before, the other one reads them after */
    atomic_size_t at;      /* the host that is looked up now */
    int fd;
    struct hosts hosts; /* the thread only reads them */
    struct hosts found;
    struct error error;
};

static void fail(struct lookup *l, const struct host *host, const char *why)
{
    if (l->error.text[0] == '\0')
        error_set(&l->error, "could not translate host name \"%.100s\" to address: %s", host->name, why);
    (void)hosts_add(&l->found, host);
}

static void look_up(struct lookup *l, const struct host *host)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}; /* as libpq does */
    struct addrinfo *list = NULL;

    int failure = getaddrinfo(host->name, NULL, &hints, &list);
    if (failure != 0) {
        fail(l, host, failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
        return;
    }
    size_t room = HOSTS_MAX / l->hosts.count; /* a name with many addresses leaves the others theirs */
    for (const struct addrinfo *info = list; info != NULL && room > 0; info = info->ai_next, room--) {
        struct host one = *host;
        if (getnameinfo(info->ai_addr, info->ai_addrlen, one.address, sizeof one.address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            (void)hosts_add(&l->found, &one);
    }
    freeaddrinfo(list);
}

static void *run(void *context)
{
    struct lookup *l = context;

    for (size_t i = 0; i < l->hosts.count; i++) {
        const struct host *host = &l->hosts.items[i];
        atomic_store(&l->at, i);
        if (host_is_name(host))
            look_up(l, host);
        else
            (void)hosts_add(&l->found, host);
    }
    atomic_store(&l->has_ended, true);
    (void)!eventfd_write(l->fd, 1);
    lookup_release(l);
    return NULL;
}

struct lookup *lookup_start(const struct hosts *hosts, struct error *err)
{
    struct lookup *l = mem_calloc(1, sizeof *l);
    pthread_t thread;
    int failure;

    atomic_init(&l->references, 1);
    atomic_init(&l->has_ended, false);
    atomic_init(&l->at, 0);
    l->hosts = *hosts;
    l->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->fd < 0) {
        error_set(err, "name resolution: eventfd: %s", strerror(errno));
        lookup_release(l);
        return NULL;
    }
    atomic_store(&l->references, 2);
    failure = pthread_create(&thread, NULL, run, l);
    if (failure != 0) {
        error_set(err, "name resolution: pthread_create: %s", strerror(failure));
        atomic_store(&l->references, 1); /* there is no thread */
        lookup_release(l);
        return NULL;
    }
    pthread_detach(thread);
    return l;
}

int lookup_fd(const struct lookup *l)
{
    return l->fd;
}

const char *lookup_name(const struct lookup *l)
{
    return l->hosts.items[atomic_load(&l->at)].name;
}

bool lookup_take(const struct lookup *l, struct hosts *out, struct error *err)
{
    if (!atomic_load(&l->has_ended))
        return false;
    *out = l->found;
    *err = l->error;
    return true;
}

void lookup_release(struct lookup *l)
{
    if (l == NULL || atomic_fetch_sub(&l->references, 1) > 1)
        return;
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}
