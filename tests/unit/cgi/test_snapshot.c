/* cgi/snapshot: publishing, reference counts, and waking the reader. */
#include "tests/unit/unit.h"

#include "cgi/snapshot.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>

static void the_first_snapshot_is_starting(void **state)
{
    (void)state;
    struct snapshot_slot *slot = snapshot_slot_new();
    const struct snapshot *s = snapshot_acquire(slot);
    assert_true(s->starting);
    assert_int_equal(s->check_count, 0);
    snapshot_release(s);
    snapshot_slot_free(slot);
}

static void a_reader_gets_the_newest_snapshot(void **state)
{
    (void)state;
    struct snapshot_slot *slot = snapshot_slot_new();
    for (int64_t i = 1; i <= 3; i++) {
        struct snapshot *s = snapshot_new(2);
        s->taken_ns = i;
        snapshot_publish(slot, s);
    }
    const struct snapshot *newest = snapshot_acquire(slot);
    assert_int_equal(newest->taken_ns, 3);
    assert_int_equal(newest->check_count, 2);
    snapshot_release(newest);
    snapshot_slot_free(slot);
}

static void an_acquired_snapshot_outlives_its_successor_and_the_slot(void **state)
{
    (void)state;
    struct snapshot_slot *slot = snapshot_slot_new();
    struct snapshot *first = snapshot_new(1);
    snprintf(first->checks[0].name, sizeof first->checks[0].name, "edges");
    snapshot_publish(slot, first);
    const struct snapshot *held = snapshot_acquire(slot);
    snapshot_publish(slot, snapshot_new(0));
    snapshot_slot_free(slot);
    assert_string_equal(held->checks[0].name, "edges");
    snapshot_release(held);
}

static void a_publish_makes_the_event_readable(void **state)
{
    (void)state;
    struct snapshot_slot *slot = snapshot_slot_new();
    struct pollfd pfd = {.fd = snapshot_slot_event_fd(slot), .events = POLLIN};
    eventfd_t count;

    assert_int_equal(poll(&pfd, 1, 0), 0);
    snapshot_publish(slot, snapshot_new(0));
    snapshot_publish(slot, snapshot_new(0));
    assert_int_equal(poll(&pfd, 1, 0), 1);
    assert_int_equal(eventfd_read(pfd.fd, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(poll(&pfd, 1, 0), 0);
    snapshot_slot_free(slot);
}

#define PUBLISHES 20000

static void *publish_many(void *slot)
{
    for (int64_t i = 1; i <= PUBLISHES; i++) {
        struct snapshot *s = snapshot_new(1);
        s->taken_ns = i;
        s->checks[0].value = i;
        snapshot_publish(slot, s);
    }
    return NULL;
}

static void a_reader_never_sees_half_a_snapshot_or_an_older_one(void **state)
{
    (void)state;
    struct snapshot_slot *slot = snapshot_slot_new();
    pthread_t writer;
    int64_t last = 0;

    snapshot_publish(slot, snapshot_new(1));
    assert_int_equal(pthread_create(&writer, NULL, publish_many, slot), 0);
    while (last < PUBLISHES) {
        const struct snapshot *s = snapshot_acquire(slot);
        assert_int_equal(s->checks[0].value, s->taken_ns);
        assert_true(s->taken_ns >= last);
        last = s->taken_ns;
        snapshot_release(s);
    }
    pthread_join(writer, NULL);
    snapshot_slot_free(slot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_snapshot_is_starting),
        cmocka_unit_test(a_reader_gets_the_newest_snapshot),
        cmocka_unit_test(an_acquired_snapshot_outlives_its_successor_and_the_slot),
        cmocka_unit_test(a_publish_makes_the_event_readable),
        cmocka_unit_test(a_reader_never_sees_half_a_snapshot_or_an_older_one),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
