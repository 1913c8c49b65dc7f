/* setitimer(2) and a handler that uses only async-signal-safe calls and atomics. */
#include "cgi/deadman.h"

#include "common/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* DESIGN: each tick of one second re-arms alarm(10). */
#define PERIOD_NS (10 * NS_PER_S)
#define LATE_NS   NS_PER_S
#define US_PER_S  INT64_C(1000000)

static _Atomic int64_t due_ns;
static _Atomic int64_t final_ns = CLOCK_NEVER;

static void say_and_exit(const char *line)
{
    (void)!write(STDERR_FILENO, line, strlen(line));
    _exit(1);
}

static void handle_alarm(int signal_number)
{
    int saved_errno = errno;
    (void)signal_number;
    int64_t now_ns = clock_now_ns();
    if (now_ns >= atomic_load(&final_ns)) {
        say_and_exit(
            "level=error event=\"ended by the alarm: the stop took longer than HEALTH_STOP_TIMEOUT\"\n");
    }
    if (now_ns - atomic_load(&due_ns) < LATE_NS) {
        say_and_exit("level=error event=\"ended by the alarm: the event loop is stuck\"\n");
    }
    deadman_arm();
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

void deadman_arm(void)
{
    int64_t now_ns = clock_now_ns();
    int64_t left_ns = atomic_load(&final_ns) - now_ns;
    int64_t after_ns = left_ns < PERIOD_NS ? left_ns : PERIOD_NS;
    /* One more: it must not fire before that, and {0, 0} would disarm it. */
    int64_t us = (after_ns > 0 ? after_ns / NS_PER_US : 0) + 1;
    struct itimerval timer = {.it_value = {.tv_sec = us / US_PER_S, .tv_usec = us % US_PER_S}};

    atomic_store(&due_ns, now_ns + us * NS_PER_US);
    setitimer(ITIMER_REAL, &timer, NULL);
}

void deadman_arm_final(int64_t after_ms)
{
    int64_t end_ns = clock_now_ns() + after_ms * NS_PER_MS;
    if (end_ns < atomic_load(&final_ns)) {
        atomic_store(&final_ns, end_ns);
    }
    deadman_arm();
}
