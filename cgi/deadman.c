/* setitimer(2) and a handler that uses only async-signal-safe calls and atomics. */
#include "cgi/deadman.h"

#include "common/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define LATE_NS NS_PER_S

static _Atomic int64_t period_ms;
static _Atomic int64_t due_ns;
static atomic_bool final;

static void start_timer(int64_t after_ms)
{
    /* {0, 0} would disarm it. */
    int64_t ms = after_ms > 0 ? after_ms : 1;
    struct itimerval timer = {.it_value = {.tv_sec = ms / MS_PER_S, .tv_usec = ms % MS_PER_S * 1000}};
    atomic_store(&period_ms, ms);
    atomic_store(&due_ns, clock_now_ns() + ms * NS_PER_MS);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void say_and_exit(const char *line)
{
    (void)!write(STDERR_FILENO, line, strlen(line));
    _exit(1);
}

static void handle_alarm(int signal_number)
{
    int saved_errno = errno;
    (void)signal_number;
    if (atomic_load(&final)) {
        say_and_exit(
            "level=error event=\"ended by the alarm: the stop took longer than HEALTH_STOP_TIMEOUT\"\n");
    }
    if (clock_now_ns() - atomic_load(&due_ns) < LATE_NS) {
        say_and_exit("level=error event=\"ended by the alarm: the event loop is stuck\"\n");
    }
    start_timer(atomic_load(&period_ms));
    errno = saved_errno;
}

void deadman_init(void)
{
    struct sigaction action = {.sa_handler = handle_alarm, .sa_flags = SA_RESTART};
    sigset_t alarm_only;

    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
}

void deadman_arm(int64_t after_ms)
{
    if (!atomic_load(&final)) {
        start_timer(after_ms);
    }
}

void deadman_arm_final(int64_t after_ms)
{
    atomic_store(&final, true);
    start_timer(after_ms);
}
