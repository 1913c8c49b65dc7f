/* Runs the prober thread, which owns the checks and the probing; the main thread leaves its commands (stop,
 * new checks) under the lock. Also runs the single probe of CGI and --once, on the main thread. */
#include "cgi/probe/prober.h"

#include "cgi/probe/probing.h"
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

struct prober {
    struct checks checks; /* only the thread uses checks and probing */
    struct probing *probing;
    pthread_t thread;
    int wake_fd;
    int done_fd;
    pthread_mutex_t lock; /* protects the next three members */
    bool stop;
    bool has_new_checks;
    struct checks new_checks;
};

static void apply_new_checks(struct prober *p)
{
    struct checks old = p->checks;

    log_event(LOG_LEVEL_NOTICE, "checks reloaded", LOG_INT("checks", p->new_checks.count));
    p->checks = p->new_checks;
    p->new_checks = (struct checks){0};
    p->has_new_checks = false;
    probing_set_checks(p->probing, &old, &p->checks);
    checks_free(&old);
}

enum command {
    COMMAND_GO_ON,
    COMMAND_FINISH_CHECK, /* new checks wait until the current one has its answer */
    COMMAND_STOP,
};

static enum command take_commands(struct prober *p)
{
    eventfd_t ignored;
    (void)!eventfd_read(p->wake_fd, &ignored);
    pthread_mutex_lock(&p->lock);
    if (p->has_new_checks && !probing_is_asked(p->probing))
        apply_new_checks(p);
    enum command command = p->stop ? COMMAND_STOP : p->has_new_checks ? COMMAND_FINISH_CHECK : COMMAND_GO_ON;
    pthread_mutex_unlock(&p->lock);
    return command;
}

static void *run_thread(void *context)
{
    struct prober *p = context;
    enum command command;
    while ((command = take_commands(p)) != COMMAND_STOP) {
        struct pollfd fds[PROBING_POLLED + 1];
        int64_t deadline_ns = probing_turn(p->probing, command == COMMAND_GO_ON, fds);
        fds[PROBING_POLLED] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
        (void)poll(fds, PROBING_POLLED + 1, clock_poll_timeout_ms(deadline_ns, clock_now_ns()));
    }
    probing_free(p->probing); /* closes the sessions */
    p->probing = NULL;
    (void)!eventfd_write(p->done_fd, 1);
    return NULL;
}

static void free_prober(struct prober *p)
{
    if (p->probing != NULL)
        probing_free(p->probing);
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
    struct prober *p = mem_calloc(1, sizeof *p);
    const char *errpos = "eventfd";
    int failure = 0;

    pthread_mutex_init(&p->lock, NULL);
    p->checks = *checks;
    p->probing = probing_new(config, &p->checks, slot);
    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->wake_fd < 0 || p->done_fd < 0) {
        failure = errno;
        goto failed;
    }
    probing_publish(p->probing, false); /* so the first snapshot has the names of the checks */
    errpos = "pthread_create";
    failure = pthread_create(&p->thread, NULL, run_thread, p);
    if (failure != 0)
        goto failed;
    (void)pthread_setname_np(p->thread, "prober"); /* for ps -L and debuggers */
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
    struct probing *probing = probing_new(config, checks, slot);
    int64_t begin_ns = clock_now_ns();
    while (!probing_is_complete(probing)) {
        struct pollfd fds[PROBING_POLLED];
        int64_t deadline_ns = probing_turn(probing, true, fds);
        int64_t end_ns = begin_ns + probing_once_ms(probing) * NS_PER_MS;
        if (clock_now_ns() >= end_ns)
            break;
        if (!probing_is_complete(probing))
            (void)poll(fds, PROBING_POLLED,
                       clock_poll_timeout_ms(clock_min(deadline_ns, end_ns), clock_now_ns()));
    }
    probing_publish(probing, true);
    probing_free(probing);
}
