/* Decides when to probe and on which connection. The thread in here owns both probes and all state but the
 * commands (stop, new checks), which the main thread leaves under the lock. */
#include "cgi/probe/prober.h"

#include "cgi/probe/ledger.h"
#include "cgi/probe/probe.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* DESIGN: errors back off 0.25 s to 2 s with jitter. A server that is starting, or a port where nobody
 * listens, is asked again after the shortest time always: such an attempt costs little and its end is waited
 * for. */
#define BACKOFF_MIN_MS 250
#define BACKOFF_MAX_MS 2000

struct prober {
    const struct config *config;
    struct snapshot_slot *slot;
    struct checks checks;
    struct ledger *ledger;

    struct probe *kept;  /* connected; NULL after a failure */
    struct probe *fresh; /* connecting, to replace it */
    bool may_lose_one; /* a round has finished since the last connection was lost, and no probe has failed */
    int64_t next_round_ns;
    int64_t next_fresh_ns;
    int64_t reconnect_allowed_ns; /* a server that drops us after each round is not asked in a tight loop */
    int64_t backoff_ms;
    size_t first_host;         /* a host that let us wait is the last to be asked next time */
    int64_t round_deadline_ns; /* CLOCK_NEVER but in prober_run_once */
    bool finished;             /* a probe has finished, whatever it found */

    /* The running round: */
    const struct check *due[CHECKS_MAX];
    size_t due_index[CHECKS_MAX];
    size_t due_count;
    size_t taken; /* outcomes that the ledger has */
    bool is_cut;  /* a check broke the connection: the rest of them is asked on the next one */

    pthread_t thread;
    int wake_fd;
    int done_fd;
    pthread_mutex_t lock; /* of the next three */
    bool stop;
    bool has_new_checks;
    struct checks new_checks;
};

static void close_connections(struct prober *p)
{
    probe_close(p->kept);
    probe_close(p->fresh);
    p->kept = NULL;
    p->fresh = NULL;
}

/* +0 to 10 %, never less: so that many instances do not ask in step, and none more often than promised. */
static int64_t with_jitter_ns(int64_t delay_ms)
{
    return delay_ms * NS_PER_MS + random() % (delay_ms * NS_PER_MS / 10);
}

static void fail_database(struct prober *p, const struct probe_failure *failure, int64_t now_ns)
{
    bool is_brief = failure->refused || failure->reason == REASON_RESTARTING;

    p->first_host += failure->reason == REASON_CONNECT_TIMEOUT ? 1 : 0;
    ledger_fail_database(p->ledger, failure->reason, failure->sqlstate, failure->detail, now_ns);
    close_connections(p);
    p->may_lose_one = false;
    p->is_cut = false;
    p->finished = true;
    p->backoff_ms = p->backoff_ms == 0 || is_brief ? BACKOFF_MIN_MS : p->backoff_ms * 2;
    p->backoff_ms = p->backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : p->backoff_ms;
    p->next_round_ns = now_ns + with_jitter_ns(p->backoff_ms);
    snapshot_publish(p->slot, ledger_snapshot(p->ledger, now_ns));
}

static void start_round(struct prober *p, int64_t now_ns)
{
    if (p->is_cut) {
        p->due_count -= p->taken;
        memmove(p->due_index, p->due_index + p->taken, p->due_count * sizeof p->due_index[0]);
    } else {
        p->due_count = ledger_select_due(p->ledger, now_ns, p->config->interval_ms * NS_PER_MS, p->due_index);
    }
    p->is_cut = false;
    for (size_t i = 0; i < p->due_count; i++)
        p->due[i] = &p->checks.items[p->due_index[i]];
    p->taken = 0;
    p->next_round_ns = now_ns + p->config->interval_ms * NS_PER_MS;
    probe_start_round(p->kept, p->due, p->due_count, p->round_deadline_ns, now_ns);
}

static void open_fresh(struct prober *p, int64_t now_ns)
{
    struct probe_options options = {
        .connect_timeout_ms = p->config->connect_timeout_ms,
        .query_timeout_ms = p->config->query_timeout_ms,
        .first_host = p->first_host,
    };
    p->next_fresh_ns = now_ns + p->config->reconnect_every_ms * NS_PER_MS;
    p->fresh = probe_open(&options, now_ns);
}

/* The fresh connection is up: it takes the place of the kept one and proves itself with a round. The old one
 * was kept until now so that the new one had to find a place of its own on the server. */
static void adopt_fresh(struct prober *p, int64_t now_ns)
{
    probe_close(p->kept);
    p->kept = p->fresh;
    p->fresh = NULL;
    ledger_note_connected(p->ledger, probe_facts(p->kept));
    start_round(p, now_ns);
}

/* Hands the new outcomes of the round to the ledger, and publishes when one of them is a failure, or when the
 * last snapshot is an interval old because the round is long. */
static void take_outcomes(struct prober *p, int64_t now_ns)
{
    bool failed = false;
    while (p->taken < p->due_count && probe_outcome(p->kept, p->taken)->done) {
        const struct probe_outcome *outcome = probe_outcome(p->kept, p->taken);
        failed |= ledger_take_outcome(p->ledger, p->due_index[p->taken], outcome, now_ns);
        p->taken++;
    }
    bool overdue = ledger_published_ns(p->ledger) + p->config->interval_ms * NS_PER_MS < now_ns;
    if (failed || (overdue && p->taken > 0))
        snapshot_publish(p->slot, ledger_snapshot(p->ledger, now_ns));
}

static void finish_round(struct prober *p, int64_t now_ns)
{
    ledger_finish_round(p->ledger, probe_facts(p->kept));
    p->may_lose_one = true;
    p->finished = true;
    p->backoff_ms = 0;
    snapshot_publish(p->slot, ledger_snapshot(p->ledger, now_ns));
}

static void drop_kept(struct prober *p)
{
    probe_close(p->kept);
    p->kept = NULL;
    ledger_note_reconnect(p->ledger);
}

/* At once, and once more only after the shortest time. */
static void reconnect_soon(struct prober *p, int64_t now_ns)
{
    drop_kept(p);
    p->next_round_ns = now_ns > p->reconnect_allowed_ns ? now_ns : p->reconnect_allowed_ns;
    p->reconnect_allowed_ns = p->next_round_ns + BACKOFF_MIN_MS * NS_PER_MS;
}

/* Of the checks behind the one that broke the connection, is there one that did not do so itself? Those that
 * did wait for their turn in the next round. */
static bool has_more_to_ask(const struct prober *p)
{
    for (size_t i = p->taken; i < p->due_count; i++)
        if (!ledger_is_breaker(p->ledger, p->due_index[i]))
            return true;
    return false;
}

static void handle_kept_failure(struct prober *p, int64_t now_ns)
{
    const struct probe_failure *failure = probe_failure(p->kept);

    if (failure->checks_only && has_more_to_ask(p)) {
        p->is_cut = true;
        reconnect_soon(p, now_ns);
        return;
    }
    if (failure->checks_only) {
        finish_round(p, now_ns);
        drop_kept(p);
        return;
    }
    if (failure->lost && p->fresh != NULL) {
        drop_kept(p); /* the fresh connection under way decides */
        ledger_abandon_round(p->ledger);
        return;
    }
    if (failure->lost && p->may_lose_one) {
        p->may_lose_one = false;
        log_event(LOG_LEVEL_INFO, "connection lost, trying a fresh one",
                  LOG_STR("sqlstate", failure->sqlstate), LOG_STR("detail", failure->detail));
        reconnect_soon(p, now_ns);
        ledger_abandon_round(p->ledger);
        return;
    }
    fail_database(p, failure, now_ns);
}

static void step_fresh(struct prober *p, int64_t now_ns, struct probe_wait *wait)
{
    switch (probe_step(p->fresh, now_ns, wait)) {
    case PROBE_FAILED: fail_database(p, probe_failure(p->fresh), now_ns); break;
    case PROBE_IDLE: adopt_fresh(p, now_ns); break;
    case PROBE_CONNECTING:
    case PROBE_ROUND: break;
    }
}

static void step_kept(struct prober *p, int64_t now_ns, struct probe_wait *wait)
{
    bool in_round = probe_state(p->kept) == PROBE_ROUND;
    enum probe_state state = probe_step(p->kept, now_ns, wait);

    if (in_round)
        take_outcomes(p, now_ns);
    if (state == PROBE_FAILED)
        handle_kept_failure(p, now_ns);
    else if (in_round && state == PROBE_IDLE)
        finish_round(p, now_ns);
}

static bool is_waiting(const struct prober *p)
{
    return p->fresh == NULL && (p->kept == NULL || probe_state(p->kept) == PROBE_IDLE);
}

/* When the next probe begins, on the kept connection or on a fresh one. Meant for one that is waiting. */
static int64_t next_probe_ns(const struct prober *p)
{
    bool fresh_is_first = p->kept != NULL && p->next_fresh_ns < p->next_round_ns;
    return fresh_is_first ? p->next_fresh_ns : p->next_round_ns;
}

/* Does all that can be done at now_ns; fills the descriptors to wait for (2) and returns the next deadline.
 */
static int64_t step(struct prober *p, int64_t now_ns, struct pollfd fds[static 2])
{
    struct probe_wait fresh = {.fd = -1, .deadline_ns = CLOCK_NEVER};
    struct probe_wait kept = {.fd = -1, .deadline_ns = CLOCK_NEVER};

    if (is_waiting(p) && now_ns >= next_probe_ns(p)) {
        if (p->kept == NULL || now_ns >= p->next_fresh_ns) {
            open_fresh(p, now_ns);
            now_ns = clock_now_ns(); /* name resolution may have taken long */
        } else {
            start_round(p, now_ns);
        }
    }
    if (p->fresh != NULL)
        step_fresh(p, now_ns, &fresh);
    if (p->kept != NULL) {
        /* Anew: a round that was just sent may be answered already, and took some time all the same. */
        step_kept(p, clock_now_ns(), &kept);
    }

    fds[0] = (struct pollfd){.fd = p->fresh != NULL ? fresh.fd : -1, .events = fresh.events};
    fds[1] = (struct pollfd){.fd = p->kept != NULL ? kept.fd : -1, .events = kept.events};
    if (is_waiting(p))
        return next_probe_ns(p);
    return fresh.deadline_ns < kept.deadline_ns ? fresh.deadline_ns : kept.deadline_ns;
}

/* Between rounds only: a round borrows the checks. */
static void apply_new_checks(struct prober *p)
{
    struct checks old = p->checks;

    log_event(LOG_LEVEL_NOTICE, "checks reloaded", LOG_INT("checks", p->new_checks.count));
    p->checks = p->new_checks;
    p->new_checks = (struct checks){0};
    p->has_new_checks = false;
    p->is_cut = false;
    ledger_set_checks(p->ledger, &old, &p->checks);
    checks_free(&old);
    if (p->kept != NULL)
        p->next_round_ns = clock_now_ns(); /* what has no count yet gets one */
}

/* False: stop. */
static bool take_commands(struct prober *p)
{
    eventfd_t ignored;
    (void)!eventfd_read(p->wake_fd, &ignored);
    pthread_mutex_lock(&p->lock);
    bool stop = p->stop;
    if (p->has_new_checks && is_waiting(p))
        apply_new_checks(p);
    pthread_mutex_unlock(&p->lock);
    return !stop;
}

static void *run_thread(void *context)
{
    struct prober *p = context;
    while (take_commands(p)) {
        struct pollfd fds[3];
        int64_t deadline_ns = step(p, clock_now_ns(), fds);
        fds[2] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
        (void)poll(fds, 3, clock_poll_timeout_ms(deadline_ns, clock_now_ns()));
    }
    close_connections(p);
    (void)!eventfd_write(p->done_fd, 1);
    return NULL;
}

static struct prober *new_prober(const struct config *config, const struct checks *checks,
                                 struct snapshot_slot *slot)
{
    struct prober *p = mem_calloc(1, sizeof *p);
    probe_init();
    p->config = config;
    p->slot = slot;
    p->checks = *checks;
    p->ledger = ledger_new(config->fall, config->rise, &p->checks);
    p->round_deadline_ns = CLOCK_NEVER;
    p->next_round_ns = clock_now_ns();
    p->wake_fd = -1;
    p->done_fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    srandom((unsigned int)(p->next_round_ns ^ getpid()));
    return p;
}

static void free_prober(struct prober *p)
{
    close_connections(p);
    ledger_free(p->ledger);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    if (p->done_fd >= 0)
        close(p->done_fd);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

struct prober *prober_start(const struct config *config, struct checks *checks, struct snapshot_slot *slot,
                            struct error *err)
{
    struct prober *p = new_prober(config, checks, slot);
    const char *errpos = "eventfd";
    int failure = 0;

    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->wake_fd < 0 || p->done_fd < 0) {
        failure = errno;
        goto failed;
    }
    snapshot_publish(slot,
                     ledger_snapshot(p->ledger, clock_now_ns())); /* starting, with the names of the checks */
    errpos = "pthread_create";
    failure = pthread_create(&p->thread, NULL, run_thread, p);
    if (failure != 0)
        goto failed;
    *checks = (struct checks){0};
    return p;

failed:
    error_set(err, "%s: %s", errpos, strerror(failure));
    free_prober(p);
    return NULL;
}

void prober_set_checks(struct prober *p, struct checks *checks)
{
    pthread_mutex_lock(&p->lock);
    checks_free(&p->new_checks);
    p->new_checks = *checks;
    p->has_new_checks = true;
    pthread_mutex_unlock(&p->lock);
    *checks = (struct checks){0};
    (void)!eventfd_write(p->wake_fd, 1);
}

bool prober_stop(struct prober *p, int64_t wait_ms)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    (void)!eventfd_write(p->wake_fd, 1);

    struct pollfd done = {.fd = p->done_fd, .events = POLLIN};
    if (poll(&done, 1, (int)wait_ms) != 1)
        return false;
    pthread_join(p->thread, NULL);
    checks_free(&p->checks);
    checks_free(&p->new_checks);
    free_prober(p);
    return true;
}

void prober_run_once(const struct config *config, const struct checks *checks, struct snapshot_slot *slot)
{
    struct prober *p = new_prober(config, checks, slot);
    p->round_deadline_ns =
        p->next_round_ns + (config->connect_timeout_ms + config->query_timeout_ms) * NS_PER_MS;
    while (!p->finished) {
        struct pollfd fds[2];
        int64_t deadline_ns = step(p, clock_now_ns(), fds);
        if (!p->finished)
            (void)poll(fds, 2, clock_poll_timeout_ms(deadline_ns, clock_now_ns()));
    }
    free_prober(p);
}
