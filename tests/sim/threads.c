/* Runs the program's threads as contexts of makecontext(3), and defines the pthread functions for them. Owns
 * the threads. */
#include "tests/sim/threads.h"

#include "tests/sim/timeline.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#define THREADS_MAX 8
#define STACK_SIZE  (512 * 1024)

struct thread {
    ucontext_t context;
    void *(*start)(void *);
    void *argument;
    void *result;
    bool exists, ended, is_detached;
    threads_ready_fn *is_ready; /* what it waits for */
    void *ready_context;
    int64_t deadline_ns;
    const void *condition; /* of pthread_cond_wait; NULL: signalled */
};

static struct thread threads[THREADS_MAX] = {
    {.exists = true, .deadline_ns = CLOCK_NEVER} /* main's */
};
static struct thread *running = &threads[0];
static int64_t stalled_until_ns;
static int64_t stall_at_clock_ns;

void (*threads_on_moment)(void);

void threads_stall(int64_t duration_ns)
{
    timeline_note("the process is not scheduled for %.3f s", (double)duration_ns / 1e9);
    stalled_until_ns = timeline_now_ns + duration_ns;
}

void threads_stall_at_clock(int64_t duration_ns)
{
    stall_at_clock_ns = duration_ns;
}

void threads_suspend(int64_t duration_ns)
{
    threads_stall(duration_ns);
    for (size_t i = 0; i < THREADS_MAX; i++)
        if (threads[i].deadline_ns != CLOCK_NEVER)
            threads[i].deadline_ns += duration_ns;
}

void threads_clock_read(void)
{
    if (stall_at_clock_ns > 0) {
        int64_t duration_ns = stall_at_clock_ns;
        stall_at_clock_ns = 0;
        timeline_note("the process is not scheduled for %.3f s, in the middle of its work",
                      (double)duration_ns / 1e9);
        timeline_run_to(timeline_now_ns + duration_ns);
    }
}

static bool can_run(const struct thread *t)
{
    return t->exists && !t->ended &&
           (t->is_ready == NULL || timeline_now_ns >= t->deadline_ns || t->is_ready(t->ready_context));
}

/* Finds the next thread that can run. It considers the running one last, so that none starves. */
static struct thread *find_runnable(void)
{
    size_t from = (size_t)(running - threads);
    for (size_t i = 1; i <= THREADS_MAX; i++) {
        struct thread *t = &threads[(from + i) % THREADS_MAX];
        if (can_run(t))
            return t;
    }
    return NULL;
}

static int64_t next_ns(void)
{
    int64_t next = timeline_next_ns();
    for (size_t i = 0; i < THREADS_MAX; i++)
        if (threads[i].exists && !threads[i].ended && threads[i].deadline_ns < next)
            next = threads[i].deadline_ns;
    return next;
}

static void pass_time(void)
{
    int64_t next = next_ns();

    threads_on_moment();
    if (next == CLOCK_NEVER)
        timeline_violation("world", "deadlock: each thread waits, and no event is due");
    timeline_run_to(next);
    if (timeline_now_ns < stalled_until_ns)
        timeline_run_to(stalled_until_ns);
    threads_on_moment();
}

/* Switches to the next thread that can run, which may be the caller. */
static void give_turn(void)
{
    struct thread *next;
    while ((next = find_runnable()) == NULL)
        pass_time();
    if (next != running) {
        struct thread *before = running;
        running = next;
        swapcontext(&before->context, &next->context);
    }
}

static bool never(void *context)
{
    (void)context;
    return false;
}

bool threads_wait(int64_t deadline_ns, threads_ready_fn *is_ready, void *context)
{
    struct thread *self = running;

    self->is_ready = is_ready != NULL ? is_ready : never;
    self->ready_context = context;
    self->deadline_ns = deadline_ns;
    give_turn();
    bool ready = self->is_ready(context);
    self->is_ready = NULL;
    self->deadline_ns = CLOCK_NEVER;
    return ready;
}

static void begin_thread(void)
{
    running->result = running->start(running->argument);
    running->ended = true;
    running->deadline_ns = CLOCK_NEVER;
    give_turn();
}

/* The following functions replace those of the C library. */

int pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*start)(void *), void *argument)
{
    struct thread *t = &threads[1];
    (void)attr;
    while (t < threads + THREADS_MAX && t->exists && !(t->ended && t->is_detached))
        t++;
    if (t == threads + THREADS_MAX)
        return EAGAIN;
    free(t->context.uc_stack.ss_sp);
    *t = (struct thread){.exists = true, .start = start, .argument = argument, .deadline_ns = CLOCK_NEVER};
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = malloc(STACK_SIZE);
    t->context.uc_stack.ss_size = STACK_SIZE;
    makecontext(&t->context, begin_thread, 0);
    *id = (pthread_t)(t - threads);
    return 0;
}

static bool has_ended(void *thread)
{
    return ((struct thread *)thread)->ended;
}

int pthread_join(pthread_t id, void **result)
{
    struct thread *t = &threads[id];
    threads_wait(CLOCK_NEVER, has_ended, t);
    if (result != NULL)
        *result = t->result;
    free(t->context.uc_stack.ss_sp);
    *t = (struct thread){.deadline_ns = CLOCK_NEVER};
    return 0;
}

int pthread_detach(pthread_t id)
{
    threads[id].is_detached = true;
    return 0;
}

pthread_t pthread_self(void)
{
    return (pthread_t)(running - threads);
}

int pthread_setname_np(pthread_t id, const char *name)
{
    (void)id;
    (void)name;
    return 0;
}

static bool take_mutex(void *mutex)
{
    return pthread_mutex_trylock(mutex) == 0;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (pthread_mutex_trylock(mutex) == 0)
        return 0;
    /* The scheduler calls take_mutex before the thread continues, and take_mutex takes the mutex. */
    struct thread *self = running;
    self->is_ready = take_mutex;
    self->ready_context = mutex;
    self->deadline_ns = CLOCK_NEVER;
    give_turn();
    self->is_ready = NULL;
    return 0;
}

static bool is_signalled(void *thread)
{
    return ((struct thread *)thread)->condition == NULL;
}

static int wait_for_condition(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns)
{
    running->condition = condition;
    pthread_mutex_unlock(mutex);
    bool signalled = threads_wait(deadline_ns, is_signalled, running);
    running->condition = NULL;
    pthread_mutex_lock(mutex);
    return signalled ? 0 : ETIMEDOUT;
}

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    return wait_for_condition(condition, mutex, CLOCK_NEVER);
}

/* Works for each clock, because their difference is constant. */
static int64_t until(clockid_t clock, const struct timespec *when)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return timeline_now_ns + (when->tv_sec - now.tv_sec) * NS_PER_S + when->tv_nsec - now.tv_nsec;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *when)
{
    return wait_for_condition(condition, mutex, until(CLOCK_REALTIME, when));
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *when)
{
    return wait_for_condition(condition, mutex, until(clock, when));
}

static int wake(pthread_cond_t *condition, size_t most)
{
    for (size_t i = 0; i < THREADS_MAX && most > 0; i++) {
        if (threads[i].exists && threads[i].condition == condition) {
            threads[i].condition = NULL;
            most--;
        }
    }
    return 0;
}

int pthread_cond_signal(pthread_cond_t *condition)
{
    return wake(condition, 1);
}

int pthread_cond_broadcast(pthread_cond_t *condition)
{
    return wake(condition, THREADS_MAX);
}
