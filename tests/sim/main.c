/* sim [--verbose] [--all] [--jobs N] [--from N] [--runs N | --seconds N | --days N] [--seed N]
 *
 * Runs one seed after the other, each in its own process, until there were N runs, N seconds or N virtual
 * days. Then it runs the first seed that failed again, and prints its events. With --runs the result depends
 * only on the program, and not on the machine, its speed or the jobs. --seed runs only that seed. --all
 * continues after a violation, and prints one line for each. Exit code 0: there was no violation. */
#include "tests/sim/faults.h"
#include "tests/sim/run.h"
#include "tests/sim/timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX         64
#define RUN_SECONDS      120 /* SIGALRM ends a run that takes longer, because it hangs */
#define NS_PER_DAY       (86400 * NS_PER_S)
#define RUNS_PER_DAY_MAX 200

struct options {
    bool verbose, one, all;
    uint64_t seed;
    int64_t runs, seconds, days, jobs; /* 0: not given; days win over seconds, and seconds over runs */
};

static int64_t real_ns(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now); /* clock_gettime is simulated */
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static struct options parse(int argc, char **argv)
{
    struct options o = {.seed = 1, .runs = 100, .jobs = sysconf(_SC_NPROCESSORS_ONLN)};

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--verbose") == 0) {
            o.verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--all") == 0) {
            o.all = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--from") == 0)
            o.seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--runs") == 0)
            o.runs = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            o.seconds = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--days") == 0)
            o.days = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--jobs") == 0)
            o.jobs = strtoll(value, NULL, 10);
        else
            exit(64);
        o.one |= strcmp(argv[i], "--seed") == 0;
        i++;
    }
    o.jobs = o.jobs < 1 ? 1 : o.jobs > JOBS_MAX ? JOBS_MAX : o.jobs;
    return o;
}

struct totals {
    int64_t runs, virtual_ns, moments, healthy, faults, logins, queries;
};

struct child {
    pid_t pid;
    uint64_t seed;
};

static void add_to_totals(struct totals *t, const struct run_result *r)
{
    __atomic_add_fetch(&t->runs, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->virtual_ns, r->virtual_ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->moments, r->moments, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->healthy, r->healthy, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->faults, r->faults, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->logins, r->logins, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->queries, r->queries, __ATOMIC_RELAXED);
}

static pid_t start_run(uint64_t seed, enum record record, bool quiet, struct totals *totals)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(RUN_SECONDS);
        timeline_record = record;
        if (quiet && freopen("/dev/null", "w", stdout) == NULL)
            _exit(RUN_VIOLATED);
        struct run_result result = run(seed);
        add_to_totals(totals, &result);
        fflush(stdout);
        _exit(0);
    }
    if (pid < 0) {
        perror("fork");
        exit(RUN_VIOLATED);
    }
    return pid;
}

static int wait_for_run(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

/* Runs the seed again, and prints its events. True: no violation. */
static bool show_run(uint64_t seed, const struct options *o, struct totals *totals)
{
    int status = wait_for_run(start_run(seed, o->verbose ? RECORD_ALL : RECORD_LAST, false, totals));
    if (WIFSIGNALED(status))
        printf("seed %" PRIu64 ": the program was ended by signal %d\n", seed, WTERMSIG(status));
    return status == 0;
}

static void print_totals(const struct totals *t, int64_t took_ns)
{
    double hours = (double)t->virtual_ns / 3.6e12;
    printf("sim: %" PRId64 " runs, %.1f virtual days, %" PRId64 " faults, %" PRId64
           " moments judged (%.0f %% answered 200), %" PRId64 " logins, %" PRId64
           " queries; %.1f s, %.0f virtual hours a minute\n",
           t->runs, hours / 24, t->faults, t->moments,
           100.0 * (double)t->healthy / (double)(t->moments + !t->moments), t->logins, t->queries,
           (double)took_ns / 1e9, hours / ((double)took_ns / 6e10));
}

/* --days also limits the runs, because a run that a violation cuts short (--all) adds no virtual time. */
static bool is_over(const struct options *o, const struct totals *t, uint64_t next, int64_t began_ns)
{
    int64_t begun = (int64_t)(next - o->seed);
    if (o->days > 0)
        return t->virtual_ns >= o->days * NS_PER_DAY || begun > o->days * RUNS_PER_DAY_MAX;
    if (o->seconds > 0)
        return real_ns() - began_ns >= o->seconds * NS_PER_S;
    return begun >= o->runs;
}

int main(int argc, char **argv)
{
    struct options o = parse(argc, argv);
    struct totals *totals =
        mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct child children[JOBS_MAX] = {{0}};
    int64_t began_ns = real_ns();
    int64_t running = 0;
    uint64_t failed = 0;

    if (o.one) {
        bool passed = show_run(o.seed, &o, totals);
        printf("seed %" PRIu64 ": %s\n", o.seed, passed ? "no violation" : "VIOLATION");
        return passed ? 0 : RUN_VIOLATED;
    }
    for (uint64_t next = o.seed; running > 0 || (failed == 0 && !is_over(&o, totals, next, began_ns));) {
        if (running < o.jobs && failed == 0 && !is_over(&o, totals, next, began_ns)) {
            struct child *child = children;
            while (child->pid != 0)
                child++;
            *child = (struct child){start_run(next, RECORD_NOTHING, !o.all, totals), next};
            next++;
            running++;
            continue;
        }
        int status;
        pid_t pid = wait(&status);
        for (struct child *child = children; child < children + JOBS_MAX; child++) {
            if (child->pid == pid) {
                failed =
                    status != 0 && !o.all && (failed == 0 || child->seed < failed) ? child->seed : failed;
                child->pid = 0;
                running--;
            }
        }
    }
    print_totals(totals, real_ns() - began_ns);
    if (failed == 0)
        return 0;
    if (show_run(failed, &o, totals))
        printf("seed %" PRIu64 " failed once and passes now: the simulator is not deterministic\n", failed);
    printf("again: make sim SEED=%" PRIu64 "\n", failed);
    return RUN_VIOLATED;
}
