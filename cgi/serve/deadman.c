/* Ends a stuck process by SIGALRM. The main thread arms the timer (setitimer(2)); the handler may run on
 * any thread and uses only atomics, async-signal-safe calls and log_last_words. Owns ITIMER_REAL and
 * SIGALRM. */
#include "cgi/serve/deadman.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>
#include <unistd.h>

/* A loop that has not ticked for 10 s is stuck. The alarm fires twice in that time, and the first one only
 * raises a suspicion. After a stop of the whole process the first alarm fires at once. The loop ticks each
 * second, so it clears that suspicion before the second alarm. */
#define SUSPECT_AFTER_NS (8 * NS_PER_S)
#define STUCK_AFTER_NS   (2 * NS_PER_S)

static atomic_bool is_suspect;
static _Atomic int64_t final_ns = CLOCK_NEVER;

static void start_timer(int64_t after_ns)
{
    int64_t left_ns = atomic_load(&final_ns) - clock_now_ns();
    int64_t wait_ns = left_ns < after_ns ? left_ns : after_ns;
    /* One microsecond more: the timer must not fire early, and {0, 0} would disarm it. */
    int64_t us = (wait_ns > 0 ? wait_ns / NS_PER_US : 0) + 1;
    struct itimerval timer = {.it_value = {.tv_sec = us / US_PER_S, .tv_usec = us % US_PER_S}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

static void handle_alarm(int signal_number)
{
    int saved_errno = errno;
    (void)signal_number;
    if (clock_now_ns() >= atomic_load(&final_ns)) {
        log_last_words("ended by the alarm: the stop took longer than HEALTH_STOP_TIMEOUT");
        _exit(1);
    }
    if (atomic_exchange(&is_suspect, true)) {
        log_last_words("ended by the alarm: the event loop is stuck");
        _exit(1);
    }
    start_timer(STUCK_AFTER_NS);
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
    atomic_store(&is_suspect, false);
    start_timer(SUSPECT_AFTER_NS);
}

void deadman_arm_final(int64_t after_ms)
{
    int64_t end_ns = clock_now_ns() + after_ms * NS_PER_MS;
    if (end_ns < atomic_load(&final_ns))
        atomic_store(&final_ns, end_ns);
    deadman_arm();
}
