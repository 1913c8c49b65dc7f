/* Finds rogues, as watchdog/rogue.h promises. Main thread; no state. */
#include "watchdog/rogue.h"

#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct holders {
    struct holder items[HOLDER_MAX];
    size_t count;
    bool unseen;
};

static bool has_part(const char *path, const char *part)
{
    size_t len = strlen(part);
    for (const char *at = path; len > 0 && (at = strstr(at, part)) != NULL; at++) {
        if (at > path && at[-1] == '/' && (at[len] == '/' || at[len] == '\0'))
            return true;
    }
    return false;
}

bool rogue_belongs(const char *cgroup, const char *control_group, const char *unit)
{
    size_t len = strlen(control_group);
    if (len == 0)
        return has_part(cgroup, unit);
    if (len == 1)
        return true; /* "/": everything is below */
    return strncmp(cgroup, control_group, len) == 0 && (cgroup[len] == '/' || cgroup[len] == '\0');
}

bool rogue_service_of(const char *cgroup, char *out, size_t out_size)
{
    static const char suffix[] = ".service";
    for (const char *part = cgroup; *part != '\0';) {
        part += *part == '/';
        size_t len = strcspn(part, "/");
        if (len >= sizeof suffix && len < out_size &&
            memcmp(part + len - (sizeof suffix - 1), suffix, sizeof suffix - 1) == 0) {
            snprintf(out, out_size, "%.*s", (int)len, part);
            return true;
        }
        part += len;
    }
    return false;
}

enum reached {
    REACHED,         /* *peer is who called listen(2) */
    REACHED_UNNAMED, /* connected, but that one is gone */
    NOBODY,          /* nothing listens at the path */
    NO_ANSWER,       /* its backlog is full, or we may not */
};

static enum reached ask_peer(const struct watch_listener *listener, struct holder *peer)
{
    enum reached reached = NO_ANSWER;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return NO_ANSWER;
    if (connect(fd, (const struct sockaddr *)&listener->address, listener->len) == 0)
        reached = holder_of_peer(fd, peer) ? REACHED : REACHED_UNNAMED;
    else if (errno == ECONNREFUSED || errno == ENOENT || errno == ENOTDIR)
        reached = NOBODY;
    close(fd);
    return reached;
}

static const struct holder *find_pid(const struct holders *list, const struct holder *wanted)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].pid == wanted->pid && list->items[i].start_ticks == wanted->start_ticks)
            return &list->items[i];
    }
    return NULL;
}

/* Sockets that were displaced at the path keep its name in /proc/net/unix: only the one that answers counts.
 */
static void keep_who_answers(const struct watch_listener *listener, struct holders *list)
{
    struct holder peer;
    enum reached reached = ask_peer(listener, &peer);
    if (reached == NOBODY) {
        *list = (struct holders){.count = 0};
        return;
    }
    if (reached != REACHED)
        return;
    const struct holder *known = find_pid(list, &peer);
    if (known == NULL && list->count > 0)
        return; /* who called listen(2) is gone, its number is somebody else's; the heirs have the socket */
    if (known == NULL) {
        list->items[list->count++] = peer;
        return;
    }
    uint64_t inode = known->socket_inode;
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].socket_inode == inode)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

static bool holds(const struct holders *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].pid == pid)
            return true;
    }
    return false;
}

/* A holder below a service whose main process is a holder as well. */
static void find_service(const struct holders *list, struct rogue *rogue)
{
    struct unit_status status;
    struct error err = {0};
    char name[sizeof rogue->service];
    if (rogue_service_of(rogue->cgroup, name, sizeof name) && unit_show(name, &status, &err) == UNIT_OK &&
        status.main_pid > 0 && holds(list, status.main_pid))
        snprintf(rogue->service, sizeof rogue->service, "%s", name);
}

void rogue_find(const struct watch_listener *listener, const struct unit_status *unit, struct rogue_list *out)
{
    struct holders list = {.count = 0};
    *out = (struct rogue_list){.count = 0};
    list.count = holder_list((const struct sockaddr *)&listener->address, listener->len, list.items,
                             HOLDER_MAX, &list.unseen);
    if (listener->address.ss_family == AF_UNIX)
        keep_who_answers(listener, &list);
    out->unseen = list.unseen;
    for (size_t i = 0; i < list.count && out->count < ROGUE_MAX; i++) {
        const struct holder *holder = &list.items[i];
        struct rogue *rogue = &out->items[out->count];
        if (holder->pid == 1 || holder->pid == getpid())
            continue;
        *rogue = (struct rogue){.holder = *holder, .is_holder = holder->socket_inode != 0};
        if (!holder_read_cgroup(holder->pid, rogue->cgroup, sizeof rogue->cgroup) ||
            rogue_belongs(rogue->cgroup, unit->control_group, unit->id))
            continue; /* gone meanwhile, or the unit's own */
        find_service(&list, rogue);
        out->count++;
    }
}

void rogue_describe(const struct rogue *rogue, char *out, size_t out_size)
{
    const struct holder *h = &rogue->holder;
    char since[CLOCK_ISO_SIZE] = "?";
    if (h->start_ticks != 0)
        clock_format_iso(holder_start_wall_ms(h->start_ticks), since);
    snprintf(out, out_size, "pid %d (user %s) since %s in %s: %s", (int)h->pid, h->user, since,
             rogue->service[0] != '\0' ? rogue->service : rogue->cgroup, h->command_line);
}
