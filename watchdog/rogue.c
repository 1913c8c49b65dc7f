/* Tells the holders of the listener apart by their control groups: those of the unit, and rogues with or
 * without an owner. Main thread; owns nothing. */
#include "watchdog/rogue.h"

#include "common/clock.h"
#include "common/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define INIT_SCOPE "/init.scope"

static bool ends_with(const char *text, size_t len, const char *suffix)
{
    size_t suffix_len = strlen(suffix);
    return len > suffix_len && memcmp(text + len - suffix_len, suffix, suffix_len) == 0;
}

/* Control groups have a prefix in a container where systemd is not at the root. Returns its length. */
static size_t prefix_of(const char *init)
{
    size_t len = strlen(init);
    return ends_with(init, len, INIT_SCOPE) ? len - strlen(INIT_SCOPE) : 0;
}

void rogue_home_of(const struct unit_status *unit, const char *init, struct buf *out)
{
    if (unit->control_group[0] != '\0') {
        buf_append_str(out, unit->control_group);
        return;
    }
    buf_append(out, init, prefix_of(init));
    for (const char *end = unit->slice; *end != '\0' && unit->slice[0] != '-'; end++)
        if (*end == '-' || strcmp(end, ".slice") == 0)
            buf_appendf(out, "/%.*s.slice", (int)(end - unit->slice), unit->slice);
    buf_appendf(out, "/%s", unit->id);
}

bool rogue_owner_of(const char *cgroup, char *out, size_t out_size)
{
    size_t len;
    for (const char *part = cgroup; *part != '\0'; part += len) {
        part += *part == '/';
        part += *part == '_'; /* systemd escapes names that the kernel uses itself */
        len = strcspn(part, "/");
        if (len == 0 || ends_with(part, len, ".slice"))
            continue;
        if (strncmp(part, "session-", 8) == 0 && ends_with(part, len, ".scope"))
            return false; /* a session of systemd-logind(8) */
        bool is_unit = ends_with(part, len, ".service") || ends_with(part, len, ".scope");
        snprintf(out, out_size, "%.*s", is_unit ? (int)len : (int)strlen(cgroup), is_unit ? part : cgroup);
        return true;
    }
    return false;
}

/* Whether systemd reports that the unit is down, so that nothing looks after its remaining processes. systemd
 * keeps a unit loaded as long as it has processes. False if systemd does not answer. */
static bool is_down(const char *unit, struct error *err)
{
    struct unit_status status;
    return *unit != '/' && unit_show(unit, &status, err) == UNIT_OK && status.load == UNIT_LOADED &&
           (status.state == UNIT_INACTIVE || status.state == UNIT_FAILED);
}

/* Sets the owner of a rogue. Asks systemd only once about each control group, and never again after systemd
 * has failed to answer (*silent). below: the control group of the rogue without the prefix of our container.
 */
static void find_owner(const struct rogue_list *before, const char *below, bool *silent, struct rogue *rogue)
{
    struct error err = {0};
    char name[256];
    for (size_t i = 0; i < before->count; i++) {
        if (strcmp(before->items[i].cgroup, rogue->cgroup) == 0) {
            memcpy(rogue->owner, before->items[i].owner, sizeof rogue->owner);
            return;
        }
    }
    if (!rogue_owner_of(below, name, sizeof name) || (!*silent && is_down(name, &err)))
        return;
    *silent = *silent || err.text[0] != '\0';
    snprintf(rogue->owner, sizeof rogue->owner, "%s%s%.60s%s", name, err.text[0] != '\0' ? " (" : "",
             err.text, err.text[0] != '\0' ? ")" : "");
}

static const struct holder *find_by_pid(const struct holders *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == pid)
            return &list->items[i];
    return NULL;
}

static void keep_socket(struct holders *list, uint64_t inode)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].socket_inode == inode)
            list->items[kept++] = list->items[i];
    list->count = kept;
}

/* Other sockets may have the same name: they were replaced at the path, or have it in another mount
 * namespace. Only the one that connect(2) reaches counts. */
static void keep_who_answers(const struct address *listener, const char *home, struct holders *list)
{
    struct holder peer;
    enum holder_reached reached =
        holder_reach((const struct sockaddr *)&listener->socket, listener->len, &peer);
    if (reached == HOLDER_NOBODY) {
        *list = (struct holders){.count = 0};
    } else if (reached == HOLDER_NAMED) {
        const struct holder *known = find_by_pid(list, peer.pid);
        if (known != NULL) {
            keep_socket(list, known->socket_inode);
        } else if (holder_is_in(peer.pid, home)) {
            *list = (struct holders){.own = true};
        } else if (list->count == 0 && !list->own) {
            list->items[list->count++] = peer;
        } /* else the process that called listen(2) has exited, its pid is reused, and its children hold the
             socket */
    }
}

/* A child of systemd holds systemd's sockets until it executes the program of its unit, and joins the control
 * group of that unit only a moment after the fork. */
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

void rogue_find(const struct address *listener, const struct unit_status *unit, struct rogue_list *out)
{
    struct holders list;
    struct sockaddr_un un;
    char init[512];
    struct buf home = {0};
    bool silent = false;
    *out = (struct rogue_list){.count = 0};
    if (!holder_read_cgroup(1, init, sizeof init))
        snprintf(init, sizeof init, INIT_SCOPE);
    size_t prefix = prefix_of(init);
    rogue_home_of(unit, init, &home);
    holder_list((const struct sockaddr *)&listener->socket, listener->len, home.data, &list);
    if (listener->socket.ss_family == AF_UNIX) {
        memcpy(&un, &listener->socket, sizeof un);
        out->hidden = holder_is_hidden(un.sun_path);
        keep_who_answers(listener, home.data, &list);
    }
    out->own = list.own;
    out->unseen = list.unseen;
    out->more = list.more;
    for (size_t i = 0; i < list.count; i++) {
        const struct holder *holder = &list.items[i];
        struct rogue *rogue = &out->items[out->count];
        if (holder->pid == getpid() || holder->pid == 1 || is_fork_of_systemd(&list, holder))
            continue;
        *rogue = (struct rogue){.holder = *holder, .is_holder = holder->socket_inode != 0};
        if (!holder_read_cgroup(holder->pid, rogue->cgroup, sizeof rogue->cgroup))
            continue; /* it has just exited */
        text_clean(rogue->cgroup);
        find_owner(out, rogue->cgroup + (strncmp(rogue->cgroup, init, prefix) == 0 ? prefix : 0), &silent,
                   rogue);
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
             h->command_line, rogue->cgroup);
}
