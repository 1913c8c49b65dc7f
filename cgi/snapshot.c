/* Hands snapshots from the prober thread to the main thread: a pointer under a mutex, reference counts, and
 * an eventfd that wakes the reader. Both threads call it. The slot holds a reference to the newest one. */
#include "cgi/snapshot.h"

#include "common/buf.h"
#include "common/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct snapshot_slot {
    pthread_mutex_t lock;
    struct snapshot *newest;
    int event_fd;
};

struct snapshot *snapshot_new(size_t check_count)
{
    struct snapshot *s = mem_calloc(1, sizeof *s + check_count * sizeof s->checks[0]);
    atomic_init(&s->references, 1);
    s->check_count = check_count;
    s->database.connect_us = -1;
    s->database.round_trip_us = -1;
    return s;
}

bool snapshot_is_degraded(const struct snapshot *s)
{
    bool degraded = s->database.down;
    for (size_t i = 0; i < s->check_count && !degraded; i++)
        degraded = s->checks[i].down && s->checks[i].severity == CHECK_FAIL;
    return degraded;
}

void snapshot_release(const struct snapshot *snapshot)
{
    /* Readers see const data; only the reference count changes. */
    struct snapshot *s = (struct snapshot *)snapshot;
    if (s != NULL && atomic_fetch_sub(&s->references, 1) == 1)
        free(s);
}

struct snapshot_slot *snapshot_slot_new(void)
{
    int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (event_fd < 0)
        return NULL;
    struct snapshot_slot *slot = mem_calloc(1, sizeof *slot);
    pthread_mutex_init(&slot->lock, NULL);
    slot->event_fd = event_fd;
    slot->newest = snapshot_new(0);
    slot->newest->starting = true;
    slot->newest->taken_ns = clock_now_ns();
    slot->newest->taken_wall_ms = clock_wall_ms();
    return slot;
}

void snapshot_slot_free(struct snapshot_slot *slot)
{
    if (slot == NULL)
        return;
    snapshot_release(slot->newest);
    close(slot->event_fd);
    pthread_mutex_destroy(&slot->lock);
    free(slot);
}

void snapshot_publish(struct snapshot_slot *slot, struct snapshot *snapshot)
{
    pthread_mutex_lock(&slot->lock);
    struct snapshot *old = slot->newest;
    slot->newest = snapshot;
    pthread_mutex_unlock(&slot->lock);
    snapshot_release(old);
    /* This fails only when the counter is full; then the reader wakes anyway. */
    (void)!eventfd_write(slot->event_fd, 1);
}

const struct snapshot *snapshot_acquire(struct snapshot_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    struct snapshot *s = slot->newest;
    atomic_fetch_add(&s->references, 1);
    pthread_mutex_unlock(&slot->lock);
    return s;
}

int snapshot_slot_event_fd(const struct snapshot_slot *slot)
{
    return slot->event_fd;
}
