/* Reads what /proc/self reports. Main thread; owns a directory stream. The stream stays open, because the
 * count matters most when no descriptor is left to open one with. */
#include "cgi/serve/process.h"

#include "common/clock.h"

#include <dirent.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KINDS_MAX 16
#define KIND_SIZE 32

struct kinds {
    char names[KINDS_MAX][KIND_SIZE];
    int counts[KINDS_MAX];
    int used;
};

/* "socket:[123]" -> socket, "anon_inode:[eventfd]" -> eventfd, "/var/x" -> file */
static void kind_of(const char *target, char kind[static KIND_SIZE])
{
    const char *start = target;
    if (target[0] == '/')
        start = strncmp(target, "/dev/", 5) == 0 ? "device" : "file";
    else if (strncmp(target, "anon_inode:", 11) == 0)
        start = target + 11 + (target[11] == '[');
    snprintf(kind, KIND_SIZE, "%.*s", (int)strcspn(start, ":]"), start);
}

static void count_kind(struct kinds *kinds, const char *kind)
{
    int i = 0;
    while (i < kinds->used && strcmp(kinds->names[i], kind) != 0)
        i++;
    if (i == KINDS_MAX)
        return;
    if (i == kinds->used) {
        snprintf(kinds->names[i], KIND_SIZE, "%s", kind);
        kinds->used++;
    }
    kinds->counts[i]++;
}

/* Calls each for every open descriptor, including the directory's own. False: /proc cannot be read. */
static bool walk_fds(void (*each)(int dir_fd, const char *name, void *context), void *context)
{
    static DIR *dir;
    struct dirent *entry;

    if (dir == NULL)
        dir = opendir("/proc/self/fd");
    else
        rewinddir(dir);
    if (dir == NULL)
        return false;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            each(dirfd(dir), entry->d_name, context);
    return true;
}

static void add_one(int dir_fd, const char *name, void *context)
{
    (void)dir_fd;
    (void)name;
    (*(int64_t *)context)++;
}

static void add_kind(int dir_fd, const char *name, void *context)
{
    char target[256];
    char kind[KIND_SIZE];
    ssize_t n = readlinkat(dir_fd, name, target, sizeof target - 1);
    if (n > 0) {
        target[n] = '\0';
        kind_of(target, kind);
        count_kind(context, kind);
    }
}

int64_t process_count_fds(void)
{
    int64_t count = 0;
    return walk_fds(add_one, &count) ? count : -1;
}

void process_describe_fds(char *out, int out_size)
{
    struct kinds kinds = {0};
    int len = 0;

    out[0] = '\0';
    (void)walk_fds(add_kind, &kinds);
    for (int i = 0; i < kinds.used && len < out_size; i++) {
        len += snprintf(out + len, (size_t)(out_size - len), "%s%s=%d", i > 0 ? " " : "", kinds.names[i],
                        kinds.counts[i]);
    }
}

static int64_t read_rss_bytes(void)
{
    long long pages = -1;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL)
        return -1;
    /* The second field is the resident set in pages, proc(5). */
    bool found = fscanf(statm, "%*s %lld", &pages) == 1;
    fclose(statm);
    return found ? pages * sysconf(_SC_PAGESIZE) : -1;
}

struct process_usage process_read(void)
{
    struct rlimit fds = {0};
    struct timespec cpu = {0};
    getrlimit(RLIMIT_NOFILE, &fds);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (struct process_usage){.open_fds = process_count_fds(),
                                  .max_fds = (int64_t)fds.rlim_cur,
                                  .rss_bytes = read_rss_bytes(),
                                  .cpu_ns = cpu.tv_sec * NS_PER_S + cpu.tv_nsec};
}

/* Makes the system calls directly, because a library for these two would be another dependency. */
bool process_drop_naming_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};

    if (geteuid() == 0)
        return true;
    if (syscall(SYS_capget, &header, sets) != 0)
        return false;
    if ((sets[CAP_TO_INDEX(CAP_SYS_PTRACE)].permitted & CAP_TO_MASK(CAP_SYS_PTRACE)) == 0)
        return true;
    memset(sets, 0, sizeof sets);
    return syscall(SYS_capset, &header, sets) == 0;
}
