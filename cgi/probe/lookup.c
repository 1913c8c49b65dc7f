/* Names -> addresses. The thread's own code, and how its result is taken. */
#include "cgi/probe/lookup.h"

#include "common/buf.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct lookup {
    struct hosts hosts; /* the thread only reads them */
    atomic_size_t at;   /* the host that is looked up now */
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

static void run(void *data)
{
    struct lookup *l = data;

    for (size_t i = 0; i < l->hosts.count; i++) {
        const struct host *host = &l->hosts.items[i];
        atomic_store(&l->at, i);
        if (host_is_name(host))
            look_up(l, host);
        else
            (void)hosts_add(&l->found, host);
    }
}

struct errand *lookup_start(const struct hosts *hosts, struct error *err)
{
    static const struct errand_kind kind = {"name resolution", run, free};
    struct lookup *l = mem_calloc(1, sizeof *l);
    l->hosts = *hosts;
    return errand_start(&kind, l, err);
}

const char *lookup_name(const struct errand *lookup)
{
    const struct lookup *l = errand_data(lookup);
    return l->hosts.items[atomic_load(&l->at)].name;
}

bool lookup_take(const struct errand *lookup, struct hosts *out, struct error *err)
{
    const struct lookup *l = errand_result(lookup);
    if (l == NULL)
        return false;
    *out = l->found;
    *err = l->error;
    return true;
}
