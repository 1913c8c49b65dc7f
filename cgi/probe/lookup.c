/* Turns names into addresses. look_up_names runs on the errand's thread and owns the struct lookup until the
 * errand has ended; the prober thread starts the errand and takes the result. */
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
    atomic_size_t at;   /* the host that the thread looks up now */
    struct hosts found;
    struct error error;
};

static void add_failed(struct lookup *l, const struct host *host, const char *why)
{
    if (l->error.text[0] == '\0')
        error_set(&l->error, "could not translate host name \"%.100s\" to address: %s", host->name, why);
    (void)hosts_add(&l->found, host);
}

static void look_up_name(struct lookup *l, const struct host *host)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}; /* as libpq does */
    struct addrinfo *list = NULL;

    int failure = getaddrinfo(host->name, NULL, &hints, &list);
    if (failure != 0) {
        add_failed(l, host, failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
        return;
    }
    size_t room = HOSTS_MAX / l->hosts.count; /* each name gets the same share */
    for (const struct addrinfo *info = list; info != NULL && room > 0; info = info->ai_next, room--) {
        struct host one = *host;
        if (getnameinfo(info->ai_addr, info->ai_addrlen, one.address, sizeof one.address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            (void)hosts_add(&l->found, &one);
    }
    freeaddrinfo(list);
}

static void look_up_names(void *data)
{
    struct lookup *l = data;

    for (size_t i = 0; i < l->hosts.count; i++) {
        const struct host *host = &l->hosts.items[i];
        atomic_store(&l->at, i);
        if (host_is_name(host))
            look_up_name(l, host);
        else
            (void)hosts_add(&l->found, host);
    }
}

struct errand *lookup_start(const struct hosts *hosts, struct error *err)
{
    static const struct errand_kind kind = {"name resolution", look_up_names, free};
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
