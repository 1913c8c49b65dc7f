/* One reading of the checks file at a time, in an errand. Main thread; owns the errand. */
#include "cgi/serve/reload.h"

#include "cgi/checksfile.h"
#include "common/clock.h"
#include "common/log.h"

#include <sys/epoll.h>

/* After this time the log reports that the reading is late. The next SIGHUP then abandons the thread that
 * reads and starts another one. At most HUNG_MAX threads are abandoned in a row, because each of them may
 * hang for ever. */
#define PATIENCE_NS (5 * NS_PER_S)
#define HUNG_MAX    4

void reload_request(struct reload *r)
{
    r->is_due = true;
}

bool reload_is_awaited(const struct reload *r)
{
    return r->reading != NULL && r->late_ns != CLOCK_NEVER;
}

static void drop_reading(struct reload *r, int epoll_fd)
{
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, errand_fd(r->reading), NULL);
    errand_release(r->reading);
    r->reading = NULL;
}

static void end_reload(struct reload *r, const struct error *refused)
{
    r->error = *refused;
    if (refused->text[0] != '\0')
        log_event(LOG_LEVEL_ERROR, "reload refused", LOG_STR("error", refused->text));
}

bool reload_begin(struct reload *r, int epoll_fd, int64_t now_ns)
{
    struct error err = {0};
    bool is_hung = r->reading != NULL && r->late_ns == CLOCK_NEVER;

    if (r->is_due && is_hung && r->hung < HUNG_MAX) {
        r->hung++;
        drop_reading(r, epoll_fd);
    }
    if (!r->is_due || r->reading != NULL)
        return false;
    r->is_due = false;
    r->reading = checksfile_start(r->path, &err);
    if (r->reading == NULL) {
        end_reload(r, &err);
        return true;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = r};
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, errand_fd(r->reading), &event);
    r->late_ns = now_ns + PATIENCE_NS;
    return true;
}

void reload_tick(struct reload *r, int64_t now_ns)
{
    if (r->reading == NULL || now_ns < r->late_ns)
        return;
    r->late_ns = CLOCK_NEVER;
    error_set(&r->error, "HEALTH_CHECKS='%.100s': not read within %d s: is its file system hanging?", r->path,
              (int)(PATIENCE_NS / NS_PER_S));
    log_event(LOG_LEVEL_ERROR, "reload delayed", LOG_STR("error", r->error.text));
}

enum reload_result reload_take(struct reload *r, int epoll_fd, struct checks *out)
{
    struct error err = {0};
    if (r->reading == NULL || errand_result(r->reading) == NULL)
        return RELOAD_NOTHING;
    bool ok = checksfile_take(r->reading, out, &err);
    drop_reading(r, epoll_fd);
    r->hung = 0;
    end_reload(r, &err);
    return ok ? RELOAD_READ : RELOAD_REFUSED;
}

void reload_close(struct reload *r)
{
    errand_release(r->reading);
    r->reading = NULL;
}
