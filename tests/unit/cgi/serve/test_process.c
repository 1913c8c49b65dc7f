/* cgi/serve/process: descriptors, memory and CPU time of this process. */
#include "tests/unit/unit.h"

#include "cgi/serve/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The first count opens the directory, which then stays open. */
static int count_once(void **state)
{
    (void)state;
    return process_count_fds() > 0 ? 0 : -1;
}

static void counts_each_open_descriptor(void **state)
{
    (void)state;
    int fds[40];
    int64_t before = process_count_fds();
    for (size_t i = 0; i < 40; i++) {
        fds[i] = open("/dev/null", O_RDONLY);
        assert_int_equal(process_count_fds(), before + 1 + (int64_t)i);
    }
    for (size_t i = 0; i < 40; i++)
        close(fds[i]);
    assert_int_equal(process_count_fds(), before);
}

/* `ls /proc/PID/fd` and open_fds of /api/status must show an operator the same number. */
static void counts_what_others_see(void **state)
{
    (void)state;
    int pipe_fds[2];
    int seen = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char path[64];
        int count = 0;
        struct dirent *entry;
        snprintf(path, sizeof path, "/proc/%d/fd", (int)getppid());
        DIR *dir = opendir(path);
        while (dir != NULL && (entry = readdir(dir)) != NULL)
            count += entry->d_name[0] != '.';
        _exit(write(pipe_fds[1], &count, sizeof count) == (ssize_t)sizeof count ? 0 : 1);
    }
    assert_int_equal(read(pipe_fds[0], &seen, sizeof seen), sizeof seen);
    assert_int_equal(process_count_fds(), seen);
    waitpid(child, NULL, 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* The count matters most then. */
static void counts_when_no_descriptor_is_left(void **state)
{
    (void)state;
    char kinds[256];
    struct rlimit before;
    int fds[64];
    int opened = 0;

    int64_t count = process_count_fds();
    getrlimit(RLIMIT_NOFILE, &before);
    const struct rlimit tight = {.rlim_cur = (rlim_t)count + 20, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    while (opened < 64 && (fds[opened] = open("/dev/null", O_RDONLY)) >= 0)
        opened++;
    int64_t full = process_count_fds();
    process_describe_fds(kinds, sizeof kinds);
    struct process_usage usage = process_read();
    for (int i = 0; i < opened; i++)
        close(fds[i]);
    setrlimit(RLIMIT_NOFILE, &before);

    assert_in_range(opened, 1, 63);
    assert_int_equal(full, count + opened);
    assert_int_equal(usage.open_fds, count + opened);
    assert_int_equal(usage.max_fds, (int64_t)tight.rlim_cur);
    assert_int_equal(usage.rss_bytes, -1);
    assert_non_null(strstr(kinds, "device="));
}

static void reads_memory_and_the_limit(void **state)
{
    (void)state;
    struct process_usage usage;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    usage = process_read();
    assert_int_equal(usage.max_fds, (int64_t)limit.rlim_cur);
    assert_int_equal(usage.open_fds, process_count_fds());
    assert_true(usage.rss_bytes > 256 * 1024);
    assert_int_equal(usage.rss_bytes % sysconf(_SC_PAGESIZE), 0);

    size_t size = 32 << 20;
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    struct process_usage more = process_read();
    munmap(memory, size);
    assert_true(more.rss_bytes > usage.rss_bytes + (16 << 20));
}

static void *work_for_20_ms(void *context)
{
    struct timespec used = {0};
    while (used.tv_sec == 0 && used.tv_nsec < 20000000)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return context;
}

static void reads_the_cpu_time_of_all_threads(void **state)
{
    (void)state;
    pthread_t thread;
    int64_t before = process_read().cpu_ns;
    assert_true(before > 0);
    assert_int_equal(pthread_create(&thread, NULL, work_for_20_ms, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(process_read().cpu_ns >= before + 20000000);
}

/* The number after "kind=" in text, or 0 without that kind. */
static int kind_count(const char *text, const char *kind)
{
    size_t len = strlen(kind);
    for (const char *p = text; (p = strstr(p, kind)) != NULL; p += len)
        if ((p == text || p[-1] == ' ') && p[len] == '=')
            return atoi(p + len + 1);
    return 0;
}

static void describes_descriptors_by_kind(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        int more;
    } cases[] = {{"socket", 2}, {"pipe", 2}, {"eventfd", 1}, {"eventpoll", 1}, {"file", 1}, {"device", 1}};
    char before[256];
    char after[256];
    int fds[8];

    process_describe_fds(before, sizeof before);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(pipe(fds + 2), 0);
    fds[4] = eventfd(0, 0);
    fds[5] = epoll_create1(0);
    fds[6] = open("/proc/self/exe", O_RDONLY);
    fds[7] = open("/dev/zero", O_RDONLY);
    process_describe_fds(after, sizeof after);
    for (size_t i = 0; i < 8; i++) {
        assert_true(fds[i] >= 0);
        close(fds[i]);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(kind_count(after, cases[i].kind) - kind_count(before, cases[i].kind), cases[i].more);
}

static void cuts_the_description_at_the_end_of_the_buffer(void **state)
{
    (void)state;
    char whole[256];
    process_describe_fds(whole, sizeof whole);
    for (int size = 1; size <= (int)strlen(whole) + 1; size++) {
        char *text = malloc((size_t)size); /* exactly this size, so that a sanitizer notices a longer write */
        process_describe_fds(text, size);
        assert_int_equal(strlen(text), size - 1);
        assert_memory_equal(text, whole, (size_t)size - 1);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_each_open_descriptor),
        cmocka_unit_test(counts_what_others_see),
        cmocka_unit_test(counts_when_no_descriptor_is_left),
        cmocka_unit_test(reads_memory_and_the_limit),
        cmocka_unit_test(reads_the_cpu_time_of_all_threads),
        cmocka_unit_test(describes_descriptors_by_kind),
        cmocka_unit_test(cuts_the_description_at_the_end_of_the_buffer),
    };
    return cmocka_run_group_tests_name("process", tests, count_once, NULL);
}
