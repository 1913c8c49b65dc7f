/* Looks up the servers' names again for each login, in one errand at a time. Runs on the prober thread; owns
 * the addresses in use and its reference to the errand. */
#include "cgi/probe/resolver.h"

#include "cgi/probe/lookup.h"
#include "cgi/probe/session.h"
#include "common/buf.h"
#include "common/clock.h"

#include <stdlib.h>

/* How long an address is tried after the others once a login has timed out there. */
#define LATE_NS (60 * NS_PER_S)

/* A lookup that takes this long will probably never end. The resolver abandons it and starts another one, but
 * only a few times, because each keeps its thread. */
#define HOPELESS_NS  (60 * NS_PER_S)
#define HOPELESS_MAX 8

struct resolver {
    int64_t limit_ns;
    struct hosts hosts;
    bool has_names;
    struct errand *lookup; /* the running lookup; NULL: none */
    int64_t asked_ns;
    int64_t took_ns;
    struct error error;
    int hopeless; /* how many lookups were abandoned */
    bool has_news;
};

struct resolver *resolver_new(int64_t limit_ms)
{
    struct resolver *r = mem_calloc(1, sizeof *r);
    r->limit_ns = limit_ms * NS_PER_MS;
    return r;
}

void resolver_free(struct resolver *r)
{
    if (r == NULL)
        return;
    errand_release(r->lookup);
    free(r);
}

static bool has_names(const struct hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++)
        if (host_is_name(&hosts->items[i]))
            return true;
    return false;
}

static void use_hosts(struct resolver *r, const struct hosts *found, int64_t now_ns)
{
    hosts_update(&r->hosts, found, now_ns);
    r->took_ns = now_ns - r->asked_ns;
    r->has_news = true;
}

void resolver_ask(struct resolver *r, int64_t now_ns)
{
    struct hosts configured;

    if (r->lookup != NULL && now_ns - r->asked_ns > HOPELESS_NS && r->hopeless < HOPELESS_MAX) {
        r->hopeless++;
        errand_release(r->lookup);
        r->lookup = NULL;
    }
    if (r->lookup != NULL)
        return;
    session_hosts(&configured);
    r->has_names = has_names(&configured);
    r->asked_ns = now_ns;
    if (!r->has_names) {
        r->error = (struct error){0};
        use_hosts(r, &configured, now_ns);
        return;
    }
    hosts_update(&r->hosts, &configured, now_ns); /* addresses and directories need no lookup */
    r->lookup = lookup_start(&configured, &r->error);
    r->has_news |= r->lookup == NULL;
}

bool resolver_step(struct resolver *r, int64_t now_ns)
{
    struct hosts found;

    if (r->lookup != NULL && lookup_take(r->lookup, &found, &r->error)) {
        errand_release(r->lookup);
        r->lookup = NULL;
        use_hosts(r, &found, now_ns);
    } else if (now_ns >= resolver_wait(r, &(struct pollfd){0})) {
        error_set(&r->error,
                  "could not translate host name \"%.100s\" to address: the lookup has not ended within "
                  "HEALTH_CONNECT_TIMEOUT",
                  lookup_name(r->lookup));
        r->has_news = true;
    }
    bool has_news = r->has_news;
    r->has_news = false;
    return has_news;
}

int64_t resolver_wait(const struct resolver *r, struct pollfd *out)
{
    *out = (struct pollfd){.fd = r->lookup != NULL ? errand_fd(r->lookup) : -1, .events = POLLIN};
    return r->lookup != NULL && r->error.text[0] == '\0' ? r->asked_ns + r->limit_ns : CLOCK_NEVER;
}

const struct hosts *resolver_hosts(const struct resolver *r)
{
    return &r->hosts;
}

bool resolver_lacks_address(const struct resolver *r)
{
    return r->hosts.count == 0 && r->has_names;
}

void resolver_demote(struct resolver *r, int64_t now_ns)
{
    hosts_demote(&r->hosts, now_ns + LATE_NS);
}

bool resolver_has_names(const struct resolver *r)
{
    return r->has_names;
}

const char *resolver_error(const struct resolver *r)
{
    return r->error.text;
}

int64_t resolver_took_ns(const struct resolver *r)
{
    return r->took_ns;
}
