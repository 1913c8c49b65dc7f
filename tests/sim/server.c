/* The simulated server processes. A process handles one message after the other. Work that takes time ends
 * with an event on the timeline; a stopped process catches up when it continues. Owns checks and counters. */
#include "tests/sim/process.h"

#include "tests/sim/timeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PING_NS        (20 * NS_PER_US)
#define CLIENT_LOOK_NS (500 * NS_PER_MS) /* client_connection_check_interval */

struct server server;
void (*server_on_crash)(int check);

struct process processes[PROCESSES_MAX];
struct process *processes_end = processes;

static bool is_stopped(const struct process *p)
{
    return server.frozen || p->frozen;
}

static void put(struct process *p, struct message *m)
{
    if (p->link == NULL) {
        net_free(m);
        return;
    }
    if (p->out == NULL)
        p->out = m;
    else
        p->out_last->next = m;
    p->out_last = m;
}

static void flush(struct process *p)
{
    if (p->out != NULL)
        net_send_down(p->link, p->out);
    p->out = NULL;
}

void process_put_error(struct process *p, const char *severity, const char *sqlstate, const char *text)
{
    struct message *m = net_new(DOWN_ERROR);
    m->size = 100;
    m->severity = severity;
    m->sqlstate = sqlstate;
    m->text = text;
    put(p, m);
}

static void put_value(struct process *p, int columns, unsigned type, const char *value)
{
    struct message *m = net_new(DOWN_ROWS);
    m->rows = 1;
    m->columns = columns;
    m->type = type;
    snprintf(m->value, sizeof m->value, "%s", value);
    put(p, m);
}

static void count_end(struct process *p, bool failed)
{
    struct server_check *c = &server.checks[p->check];
    c->last_end_ns = timeline_now_ns;
    c->last_took_ns = timeline_now_ns - p->started_ns;
    c->busy_ns += c->last_took_ns;
    c->last_failed = failed;
}

void process_end(struct process *p)
{
    if (p->work == WORK_CHECK)
        count_end(p, true);
    if (p->link != NULL) {
        put(p, net_new(DOWN_END));
        flush(p);
        net_abandon(p->link);
    }
    p->exists = false;
    p->generation++;
}

static void begin_work(struct process *p, enum work work, int64_t duration_ns, timeline_fn *fn)
{
    p->work = work;
    p->generation++;
    if (duration_ns != CLOCK_NEVER)
        timeline_at(timeline_now_ns + duration_ns, fn, p, p->generation);
}

static void crash(int check)
{
    timeline_note("the server crashes");
    server.crashes++;
    for (struct process *p = processes; p < processes_end; p++) {
        if (p->exists) {
            p->out = NULL;
            if (!(p->work == WORK_CHECK && p->check == check))
                process_put_error(p, "WARNING", "57P02",
                                  "terminating connection because of crash of another server process");
            if (p->out != NULL)
                p->out->kind = DOWN_NOTICE;
            process_end(p);
        }
    }
    server.recovering = true;
    server_on_crash(check);
}

static void put_check_answer(struct process *p)
{
    enum behaviour behaviour = server.checks[p->check].behaviour;
    char value[24];

    /* The value of a count is the time of the count. */
    snprintf(value, sizeof value, "%" PRId64, timeline_now_ns / NS_PER_MS);
    put_value(p, 1, 20, behaviour == CHECK_RANGE ? "9000000000000000000" : value);
    if (behaviour == CHECK_MALFORMED)
        p->out_last->rows = 0;
}

static void finish_work(struct process *p)
{
    enum work work = p->work;

    p->is_due = false;
    if (work == WORK_CHECK && p->end == NULL && server.checks[p->check].behaviour == CHECK_CRASHES) {
        crash(p->check);
        return;
    }
    p->work = WORK_NONE;
    if (work == WORK_LOGIN && p->login_step > server.login_steps) {
        server.logins++;
        put(p, net_new(DOWN_READY));
        p->out_last->pid = p->pid;
        flush(p);
    } else if (work == WORK_LOGIN) {
        put(p, net_new(DOWN_LOGIN));
        flush(p);
    } else if (work == WORK_CHECK) {
        count_end(p, p->end != NULL || server.checks[p->check].behaviour >= CHECK_RANGE);
        if (p->link == NULL) {
            process_end(p);
            return;
        }
        if (p->end != NULL) {
            process_put_error(p, "ERROR", p->end, "the query ended with an error");
            flush(p);
            p->aborted = true;
        } else {
            put_check_answer(p);
        }
    }
    process_go_on(p);
}

static void work_is_over(void *context, int64_t generation)
{
    struct process *p = context;
    if (!p->exists || p->generation != generation)
        return;
    if (is_stopped(p))
        p->is_due = true;
    else
        finish_work(p);
}

static void cancelled(void *context, int64_t generation)
{
    struct process *p = context;
    if (p->exists && p->generation == generation && !is_stopped(p))
        process_end(p);
}

static void start_check(struct process *p, int check)
{
    struct server_check *c = &server.checks[check];
    int64_t timeout_ns = p->timeout_ms > 0 ? p->timeout_ms * NS_PER_MS : CLOCK_NEVER;
    int64_t duration_ns = c->duration_ns;

    c->starts++;
    c->took_before_ns = c->last_took_ns;
    c->failed_before = c->last_failed;
    c->distance_ns = timeline_now_ns - c->last_end_ns;
    p->check = check;
    p->started_ns = timeline_now_ns;
    p->end = NULL;
    switch (c->behaviour) {
    case CHECK_SLOW: duration_ns = c->slow_ns; break;
    case CHECK_LOCKED: duration_ns = CLOCK_NEVER; break;
    case CHECK_STUBBORN: duration_ns = timeout_ns = CLOCK_NEVER; break;
    case CHECK_DROPPED:
        p->end = "42P01";
        duration_ns = PING_NS;
        break;
    case CHECK_CORRUPT: p->end = "XX001"; break;
    default: break;
    }
    if (timeout_ns < duration_ns) {
        p->end = "57014";
        duration_ns = timeout_ns;
    }
    begin_work(p, WORK_CHECK, duration_ns, work_is_over);
}

static bool is_at_work(int pid)
{
    for (const struct process *p = processes; p < processes_end; p++)
        if (p->exists && p->pid == pid && p->work == WORK_CHECK)
            return true;
    return false;
}

static void start_query(struct process *p, const struct query *q)
{
    char pid[16];

    server.queries++;
    snprintf(pid, sizeof pid, "%d", p->pid);
    switch (q->kind) {
    case QUERY_RECOVERY: put_value(p, 1, q->as_integer ? 23 : 16, q->as_integer ? "0" : "f"); break;
    case QUERY_TRIVIAL: put_value(p, 1, 23, "1"); break;
    case QUERY_PROCESS: put_value(p, 1, 20, is_at_work(q->pid) ? "1" : "0"); break;
    case QUERY_SETTINGS:
        p->timeout_ms = q->timeout_ms;
        p->client_check = q->client_check;
        put_value(p, 4, q->wants_pid ? 23 : 25, pid);
        break;
    case QUERY_CHECK: start_check(p, q->check); break;
    }
}

/* Sends the error of a login that is refused. True: it is refused. */
static bool refuse(struct process *p)
{
    switch (server.recovering ? DOOR_NOT_YET : server.door) {
    case DOOR_NOT_YET: process_put_error(p, "FATAL", "57P03", "the database system is starting up"); break;
    case DOOR_CLOSES: process_put_error(p, "FATAL", "57P03", "the database system is shutting down"); break;
    case DOOR_FULL: process_put_error(p, "FATAL", "53300", "sorry, too many clients already"); break;
    case DOOR_REJECTS:
        if (p->login_step < server.login_steps)
            return false;
        process_put_error(p, "FATAL", "28P01", "password authentication failed for user \"health\"");
        break;
    default: return false;
    }
    process_end(p);
    return true;
}

static void take_goodbye(struct process *p)
{
    p->link->process = NULL;
    net_abandon(p->link);
    p->link = NULL;
    p->out = NULL;
    if (p->work != WORK_CHECK)
        process_end(p);
    else if (p->client_check && server.checks[p->check].behaviour != CHECK_STUBBORN)
        timeline_at(timeline_now_ns + rng_below(&server.rng, CLIENT_LOOK_NS), cancelled, p, p->generation);
}

static void take(struct process *p, const struct message *m)
{
    switch (m->kind) {
    case UP_LOGIN:
        p->login_step++;
        if (!refuse(p))
            begin_work(p, WORK_LOGIN, server.login_ns, work_is_over);
        break;
    case UP_QUERY:
        if (!p->aborted)
            start_query(p, &m->query);
        break;
    case UP_SYNC:
        p->aborted = false;
        p->timeout_ms = 0;
        p->client_check = false;
        put(p, net_new(DOWN_READY));
        flush(p);
        break;
    case UP_FLUSH: flush(p); break;
    default: take_goodbye(p); break;
    }
}

void process_go_on(struct process *p)
{
    while (p->exists && !is_stopped(p) && p->work == WORK_NONE && p->link != NULL &&
           p->link->waiting != NULL) {
        struct message *m = p->link->waiting;
        p->link->waiting = m->next;
        take(p, m);
        net_free(m);
    }
}

/* client_connection_check_interval: a working process also notices that its client is gone. */
static void look_for_goodbye(struct process *p)
{
    if (p->work == WORK_CHECK && p->link != NULL && p->link->waiting != NULL &&
        p->link->waiting->kind == UP_GOODBYE)
        take_goodbye(p);
}

void server_received(struct link *link)
{
    struct process *p = link->process;
    if (!is_stopped(p))
        look_for_goodbye(p);
    process_go_on(p);
}

void server_disconnected(struct link *link)
{
    if (link->process != NULL) {
        struct message *m = net_new(UP_GOODBYE);
        struct process *p = link->process;
        for (struct message *next; link->waiting != NULL; link->waiting = next) {
            next = link->waiting->next;
            net_free(link->waiting);
        }
        m->link = link;
        link->waiting = link->waiting_last = m;
        p->out = NULL;
        server_received(link);
    }
}

void server_go_on(void)
{
    postmaster_open_door();
    for (struct process *p = processes; p < processes_end; p++) {
        if (!p->exists || is_stopped(p))
            continue;
        if (p->is_due)
            finish_work(p);
        else
            look_for_goodbye(p);
        process_go_on(p);
    }
}

static void terminate(struct process *p)
{
    p->out = NULL;
    process_put_error(p, "FATAL", "57P01", "terminating connection due to administrator command");
    process_end(p);
}

void server_terminate_all(void)
{
    for (struct process *p = processes; p < processes_end; p++)
        if (p->exists)
            terminate(p);
}

void server_terminate_one(void)
{
    for (struct process *p = processes; p < processes_end; p++) {
        if (p->exists && p->link != NULL && p->link->logged_in) {
            terminate(p);
            return;
        }
    }
}

void server_freeze_one(bool frozen)
{
    for (struct process *p = processes; p < processes_end; p++) {
        if (p->exists && (!frozen || (p->link != NULL && p->link->logged_in))) {
            p->frozen = frozen;
            if (frozen)
                return;
        }
    }
    server_go_on();
}

void server_release(int check)
{
    for (struct process *p = processes; p < processes_end; p++)
        if (p->exists && p->work == WORK_CHECK && p->check == check)
            begin_work(p, WORK_CHECK, server.checks[check].duration_ns, work_is_over);
}

int server_clients(void)
{
    int count = 0;
    for (const struct process *p = processes; p < processes_end; p++)
        count += p->exists && p->link != NULL && p->link->logged_in && p->link->client_open;
    return count;
}

/* Does not count a query that the network delivers after its client has left. */
int server_orphans(int check)
{
    int count = 0;
    for (const struct process *p = processes; p < processes_end; p++)
        count += p->exists && p->work == WORK_CHECK && p->check == check &&
                 (p->link == NULL || (!p->link->client_open && p->started_ns <= p->link->closed_ns));
    return count;
}
