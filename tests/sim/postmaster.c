/* The simulated postmaster: accepts connections, and starts a server process for each or refuses it. Owns the
 * backlog and the table of server processes. */
#include "tests/sim/process.h"
#include "tests/sim/timeline.h"

static struct link *at_door[PROCESSES_MAX]; /* the backlog */
static int at_door_count;
static int last_pid = 1000;

bool server_listens(void)
{
    return server.door != DOOR_ABSENT && server.door != DOOR_SHUT;
}

static void forked(void *context, int64_t pid)
{
    struct process *p = context;
    if (p->exists && p->pid == pid)
        process_go_on(p);
}

static void fork_for(struct link *link)
{
    struct process *p = processes;
    while (p < processes + PROCESSES_MAX && p->exists)
        p++;
    if (p == processes + PROCESSES_MAX)
        timeline_violation("storm", "%d server processes", PROCESSES_MAX);
    if (p == processes_end)
        processes_end++;
    int64_t generation = p->generation + 1;
    *p = (struct process){.exists = true, .pid = ++last_pid, .link = link, .generation = generation};
    link->process = p;
    if (server.door == DOOR_NO_FORK) {
        process_put_error(p, "FATAL", NULL,
                          "could not fork new process for connection: Resource temporarily unavailable");
        process_end(p);
        return;
    }
    timeline_at(timeline_now_ns + server.fork_ns, forked, p, p->pid);
}

void postmaster_open_door(void)
{
    if (server.frozen || server.postmaster_frozen)
        return;
    for (int i = 0; i < at_door_count; i++)
        if (!server_listens())
            net_reset(at_door[i]);
        else if (at_door[i]->server_open)
            fork_for(at_door[i]);
    at_door_count = 0;
}

void server_connected(struct link *link)
{
    if (at_door_count == PROCESSES_MAX) /* the backlog is full and drops the SYN */
        return;
    at_door[at_door_count++] = link;
    postmaster_open_door();
}
