/* Finds rogues, as watchdog/rogue.h promises. Main thread; no state. */
#include "watchdog/rogue.h"

#include "common/clock.h"
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct holders {
    struct holder items[HOLDER_MAX];
    size_t count;
    bool unseen;
};

bool rogue_belongs(const char *cgroup, const char *control_group)
{
    size_t len = strlen(control_group);
    if (strcmp(control_group, "/") == 0)
        return true; /* everything is below */
    return strncmp(cgroup, control_group, len) == 0 && (cgroup[len] == '/' || cgroup[len] == '\0');
}

void rogue_home_of(const struct unit_status *unit, const char *init, struct buf *out)
{
    static const char scope[] = "/init.scope";
    size_t scope_len = sizeof scope - 1;
    size_t init_len = strlen(init);
    if (unit->control_group[0] != '\0') {
        buf_append_str(out, unit->control_group);
        return;
    }
    if (init_len >= scope_len && strcmp(init + init_len - scope_len, scope) == 0)
        buf_append(out, init, init_len - scope_len);
    for (const char *end = unit->slice; *end != '\0' && unit->slice[0] != '-'; end++)
        if (*end == '-' || strcmp(end, ".slice") == 0)
            buf_appendf(out, "/%.*s.slice", (int)(end - unit->slice), unit->slice);
    buf_appendf(out, "/%s", unit->id);
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
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == wanted->pid && list->items[i].start_ticks == wanted->start_ticks)
            return &list->items[i];
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
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].socket_inode == inode)
            list->items[kept++] = list->items[i];
    list->count = kept;
}

static const struct holder *find_by_pid(const struct holders *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == pid)
            return &list->items[i];
    return NULL;
}

/* A holder below a service whose main process is a holder as well. */
static void find_service(const struct holders *list, struct rogue *rogue)
{
    struct unit_status status;
    struct error err = {0};
    char name[sizeof rogue->service];
    if (rogue_service_of(rogue->cgroup, name, sizeof name) && unit_show(name, &status, &err) == UNIT_OK &&
        status.main_pid > 0 && find_by_pid(list, status.main_pid) != NULL)
        snprintf(rogue->service, sizeof rogue->service, "%s", name);
}

/* A fork of systemd has its sockets until it becomes the program of its unit, and is in that unit's control
 * group only a moment after it is there. */
static bool is_fork_of_systemd(const struct holders *list, const struct holder *holder)
{
    char path[64];
    char ours[2][512];
    const pid_t pids[2] = {1, holder->pid};
    const struct holder *init = find_by_pid(list, 1);
    if (init == NULL || init->socket_inode != holder->socket_inode)
        return false;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/exe", (int)pids[i]);
        ssize_t len = readlink(path, ours[i], sizeof ours[i] - 1);
        if (len <= 0)
            return false;
        ours[i][len] = '\0';
    }
    return strcmp(ours[0], ours[1]) == 0;
}

void rogue_find(const struct watch_listener *listener, const struct unit_status *unit, struct rogue_list *out)
{
    struct holders list = {.count = 0};
    char init[512];
    struct buf home = {0};
    *out = (struct rogue_list){.count = 0};
    list.count = holder_list((const struct sockaddr *)&listener->address, listener->len, list.items,
                             HOLDER_MAX, &list.unseen);
    if (listener->address.ss_family == AF_UNIX)
        keep_who_answers(listener, &list);
    if (!holder_read_cgroup(1, init, sizeof init))
        snprintf(init, sizeof init, "/init.scope");
    rogue_home_of(unit, init, &home);
    out->unseen = list.unseen;
    out->listening = list.unseen;
    for (size_t i = 0; i < list.count && out->count < ROGUE_MAX; i++) {
        const struct holder *holder = &list.items[i];
        struct rogue *rogue = &out->items[out->count];
        if (holder->pid == getpid())
            continue;
        *rogue = (struct rogue){.holder = *holder, .is_holder = holder->socket_inode != 0};
        if (!holder_read_cgroup(holder->pid, rogue->cgroup, sizeof rogue->cgroup))
            continue; /* gone meanwhile */
        if (holder->pid == 1 || rogue_belongs(rogue->cgroup, home.data) ||
            is_fork_of_systemd(&list, holder)) {
            out->listening = true;
            continue;
        }
        text_clean(rogue->cgroup);
        find_service(&list, rogue);
        out->count++;
    }
    buf_free(&home);
}

void rogue_describe(const struct rogue *rogue, char *out, size_t out_size)
{
    const struct holder *h = &rogue->holder;
    char since[CLOCK_ISO_SIZE] = "?";
    if (h->start_ticks != 0)
        clock_format_iso(holder_start_wall_ms(h->start_ticks), since);
    snprintf(out, out_size, "pid %d (user %s) since %s: %s, in %s", (int)h->pid, h->user, since,
             h->command_line, rogue->service[0] != '\0' ? rogue->service : rogue->cgroup);
}
