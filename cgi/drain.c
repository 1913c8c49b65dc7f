/* Finds the drain file, follows whether it exists, and logs that. Main thread; owns an errand that sleeps
 * between two looks and ends when it finds something new. */
#include "cgi/drain.h"

#include "cgi/errand.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define NAME "drain"
/* The promise is a second. */
#define LOOK_EVERY_NS   (500 * NS_PER_MS)
#define FIRST_LOOK_NS   NS_PER_S
#define REMIND_EVERY_NS (600 * NS_PER_S)
/* The errand is late when there has been no look for this time. A tick counts for a second at most, because a
 * process that was stopped may tick before its errand runs again. */
#define LATE_NS     (5 * NS_PER_S)
#define TICK_MAX_NS NS_PER_S

/* What a look finds: 0, the file exists, or an errno of lstat(2). */
#define NOT_LOOKED (-1)

/* What the errand works on. */
struct watch {
    char *path;
    int known; /* the errand ends when it finds something else */
    int found;
    int64_t changed_wall_ms; /* of the file found */
    atomic_uint looks;       /* that have found nothing new */
    atomic_bool is_over;     /* nobody wants to know any more */
};

struct drain {
    char *path;   /* NULL: there is none */
    int epoll_fd; /* -1: drain_watch has not been called */
    int known;    /* what the last look found */
    int64_t since_wall_ms;
    struct errand *errand;     /* NULL: it could not be started, start_error says why */
    struct watch *watch;       /* the errand's */
    struct error start_error;  /* "": the last start succeeded */
    unsigned looks;            /* of the errand, at the last tick */
    int64_t ticked_ns;         /* the last tick, or the start of the errand */
    int64_t quiet_ns;          /* how long the ticks have noticed no look */
    struct error error;        /* why the file cannot be looked for; "" if it can */
    int64_t failure_logged_ns; /* 0: never */
    bool failure_is_logged;    /* the one that lasts */
    int64_t reminded_ns;
};

static bool others_may_write_to(const char *directory)
{
    struct stat st;
    return stat(directory, &st) != 0 || (st.st_mode & S_IWOTH) != 0;
}

/* An abstract name (unix(7)) begins with a NUL. A relative path belongs to the process that has bound it. */
static char *path_beside(int listener_fd)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof address;
    char path[sizeof address.sun_path + sizeof NAME] = "";

    if (getsockname(listener_fd, (struct sockaddr *)&address, &len) != 0 || address.sun_family != AF_UNIX ||
        address.sun_path[0] != '/')
        return NULL;
    memcpy(path, address.sun_path, sizeof address.sun_path);
    char *name = strrchr(path, '/') + 1;
    if (strcmp(name, NAME) == 0)
        return NULL;
    *name = '\0';
    if (others_may_write_to(path))
        return NULL;
    memcpy(name, NAME, sizeof NAME);
    return mem_strdup(path);
}

static char *choose_path(const char *setting, int listener_fd)
{
    if (setting == NULL)
        return path_beside(listener_fd);
    return strcmp(setting, CONFIG_DRAIN_OFF) == 0 ? NULL : mem_strdup(setting);
}

/* The file itself counts, whatever it is: lstat(2) does not follow a symbolic link. The kernel sets the ctime
 * also when a file is moved to this path; a copy or touch -d may set an old mtime. */
static int look_for(const char *path, int64_t *changed_wall_ms)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOTDIR ? ENOENT : errno;
    *changed_wall_ms = st.st_ctim.tv_sec * MS_PER_S + st.st_ctim.tv_nsec / NS_PER_MS;
    return 0;
}

static void wait_for_news(void *data)
{
    static const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
    struct watch *w = data;
    while ((w->found = look_for(w->path, &w->changed_wall_ms)) == w->known && !atomic_load(&w->is_over)) {
        atomic_fetch_add(&w->looks, 1);
        nanosleep(&pause, NULL);
    }
}

static void free_watch(void *data)
{
    struct watch *w = data;
    free(w->path);
    free(w);
}

static void follow_errand(struct drain *d)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = d};
    if (d->epoll_fd >= 0 && d->errand != NULL)
        (void)epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, errand_fd(d->errand), &event);
}

static void start_errand(struct drain *d, int64_t now_ns)
{
    static const struct errand_kind kind = {"looking for the drain file", wait_for_news, free_watch};
    struct watch *w = mem_calloc(1, sizeof *w);
    w->path = mem_strdup(d->path);
    w->known = d->known;
    atomic_init(&w->looks, 0);
    atomic_init(&w->is_over, false);
    d->watch = w;
    d->looks = 0;
    d->ticked_ns = now_ns;
    d->quiet_ns = 0;
    d->start_error.text[0] = '\0';
    d->errand = errand_start(&kind, w, &d->start_error);
    follow_errand(d);
}

static void drop_errand(struct drain *d)
{
    if (d->epoll_fd >= 0)
        (void)epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, errand_fd(d->errand), NULL);
    errand_release(d->errand);
    d->errand = NULL;
}

/* The clock of a file server, or a step of our own, may have made the time of the file nonsense. */
static int64_t plausible_time(int64_t wall_ms)
{
    int64_t now_ms = clock_wall_ms();
    return wall_ms > 0 && wall_ms < now_ms ? wall_ms : now_ms;
}

/* Takes what the errand has found. A look that failed changes nothing. False: the errand has not ended. */
static bool end_errand(struct drain *d)
{
    if (d->errand == NULL || errand_result(d->errand) == NULL)
        return false;
    d->known = d->watch->found;
    if (d->known == 0 && d->since_wall_ms == 0)
        d->since_wall_ms = plausible_time(d->watch->changed_wall_ms);
    else if (d->known == ENOENT)
        d->since_wall_ms = 0;
    drop_errand(d);
    return true;
}

static void wait_for_first_look(struct drain *d, int64_t now_ns)
{
    int64_t deadline_ns = now_ns + FIRST_LOOK_NS;
    struct pollfd ended = {.fd = errand_fd(d->errand), .events = POLLIN};
    while (poll(&ended, 1, clock_poll_timeout_ms(deadline_ns, now_ns)) < 0 && errno == EINTR)
        now_ns = clock_now_ns();
}

/* Why the file cannot be looked for; "" if it can. */
static struct error judge_lookup(const struct drain *d)
{
    struct error why = d->start_error;
    bool is_known = d->known == 0 || d->known == ENOENT;
    if (why.text[0] != '\0')
        return why;
    if (d->known == NOT_LOOKED || d->quiet_ns >= LATE_NS)
        error_set(&why, "no answer: is its file system hanging?");
    else if (!is_known)
        error_set(&why, "%s", strerror(d->known));
    return why;
}

static void report_lookup(struct drain *d, int64_t now_ns)
{
    d->error = judge_lookup(d);
    bool fails = d->error.text[0] != '\0';
    if (fails && !d->failure_is_logged && log_is_due(&d->failure_logged_ns, now_ns)) {
        log_event(LOG_LEVEL_WARN, "drain lookup failed", LOG_STR("file", d->path),
                  LOG_STR("error", d->error.text),
                  LOG_STR("state", d->since_wall_ms != 0 ? "draining" : "serving"));
        d->failure_is_logged = true;
    } else if (!fails && d->failure_is_logged) {
        log_event(LOG_LEVEL_INFO, "drain lookup recovered", LOG_STR("file", d->path));
        d->failure_is_logged = false;
    }
}

static void log_begin(struct drain *d, int64_t now_ns)
{
    char since[CLOCK_ISO_SIZE];
    clock_format_iso(d->since_wall_ms, since);
    log_event(LOG_LEVEL_NOTICE, "drain begun", LOG_STR("file", d->path), LOG_STR("since", since));
    d->reminded_ns = now_ns;
}

static void log_end(const struct drain *d, int64_t since_wall_ms)
{
    char since[CLOCK_ISO_SIZE];
    clock_format_iso(since_wall_ms, since);
    log_event(LOG_LEVEL_NOTICE, "drain ended", LOG_STR("file", d->path), LOG_STR("since", since));
}

/* A drain that somebody has forgotten looks like one that somebody wants. */
static void log_reminder(struct drain *d, int64_t now_ns)
{
    char since[CLOCK_ISO_SIZE];
    if (d->since_wall_ms == 0 || now_ns < d->reminded_ns + REMIND_EVERY_NS)
        return;
    clock_format_iso(d->since_wall_ms, since);
    log_event(LOG_LEVEL_WARN, "drain continued", LOG_STR("file", d->path), LOG_STR("since", since));
    d->reminded_ns = now_ns;
}

struct drain *drain_open(const struct config *config, int listener_fd, int64_t now_ns)
{
    struct drain *d = mem_calloc(1, sizeof *d);
    d->path = choose_path(config->drain_file, listener_fd);
    d->epoll_fd = -1;
    d->known = NOT_LOOKED;
    if (d->path == NULL)
        return d;
    start_errand(d, now_ns);
    if (d->errand != NULL) {
        wait_for_first_look(d, now_ns);
        (void)end_errand(d);
    }
    report_lookup(d, now_ns);
    return d;
}

void drain_watch(struct drain *d, int epoll_fd, int64_t now_ns)
{
    if (d->path == NULL)
        return;
    d->epoll_fd = epoll_fd;
    if (d->since_wall_ms != 0)
        log_begin(d, now_ns);
    if (d->errand == NULL)
        start_errand(d, now_ns);
    else
        follow_errand(d);
}

bool drain_take(struct drain *d, int64_t now_ns)
{
    int64_t before_wall_ms = d->since_wall_ms;
    if (!end_errand(d))
        return false;
    start_errand(d, now_ns);
    if (d->since_wall_ms == before_wall_ms)
        return false;
    if (d->since_wall_ms != 0)
        log_begin(d, now_ns);
    else
        log_end(d, before_wall_ms);
    return true;
}

static void notice_looks(struct drain *d, int64_t now_ns)
{
    unsigned looks = atomic_load(&d->watch->looks);
    int64_t since_tick_ns = now_ns - d->ticked_ns;
    d->ticked_ns = now_ns;
    d->quiet_ns += since_tick_ns < TICK_MAX_NS ? since_tick_ns : TICK_MAX_NS;
    if (looks != d->looks)
        d->quiet_ns = 0;
    d->looks = looks;
}

void drain_tick(struct drain *d, int64_t now_ns)
{
    if (d->path == NULL)
        return;
    if (d->errand == NULL)
        start_errand(d, now_ns);
    if (d->errand != NULL)
        notice_looks(d, now_ns);
    report_lookup(d, now_ns);
    log_reminder(d, now_ns);
}

int64_t drain_since_wall_ms(const struct drain *d)
{
    return d->since_wall_ms;
}

const char *drain_file(const struct drain *d)
{
    return d->path;
}

const char *drain_error(const struct drain *d)
{
    return d->error.text;
}

void drain_close(struct drain *d)
{
    if (d == NULL)
        return;
    if (d->errand != NULL) {
        atomic_store(&d->watch->is_over, true);
        drop_errand(d); /* it ends later, and its event must not come then */
    }
    free(d->path);
    free(d);
}
