/* cgi/probe/intake: what recv takes between intake_begin and intake_end, and otherwise. */
#include "tests/unit/unit.h"

#include "cgi/probe/intake.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fds[2];

static int open_pair(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds);
}

static int close_pair(void **state)
{
    (void)state;
    close(fds[0]);
    close(fds[1]);
    return 0;
}

static void peer_sends(size_t len)
{
    static const char bytes[1000];
    assert_int_equal(send(fds[1], bytes, len, 0), len);
}

static ssize_t receive(void)
{
    char bytes[1000];
    return recv(fds[0], bytes, sizeof bytes, 0);
}

static void a_limit_holds_over_several_calls_and_then_gives_eagain(void **state)
{
    (void)state;
    peer_sends(100);
    intake_begin(150);
    assert_int_equal(receive(), 100);
    peer_sends(100);
    assert_int_equal(receive(), 50);
    errno = 0;
    assert_int_equal(receive(), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(intake_end(), 0);
    assert_int_equal(receive(), 50);
}

static void the_unused_rest_of_the_limit_is_returned(void **state)
{
    (void)state;
    intake_begin(150);
    assert_int_equal(receive(), -1); /* nothing has arrived */
    peer_sends(30);
    assert_int_equal(receive(), 30);
    assert_int_equal(intake_end(), 120);
}

static void without_a_limit_it_behaves_like_recv(void **state)
{
    (void)state;
    char bytes[4] = "";
    assert_int_equal(send(fds[1], "abc", 3, 0), 3);
    assert_int_equal(recv(fds[0], bytes, 2, MSG_PEEK), 2);
    assert_int_equal(recv(fds[0], bytes, sizeof bytes, 0), 3);
    assert_string_equal(bytes, "abc");
    assert_int_equal(receive(), -1);
    assert_int_equal(errno, EAGAIN);
    shutdown(fds[1], SHUT_WR);
    assert_int_equal(receive(), 0);
}

static void *receive_elsewhere(void *received)
{
    *(ssize_t *)received = receive();
    return NULL;
}

static void another_thread_is_not_limited(void **state)
{
    (void)state;
    ssize_t received = 0;
    pthread_t thread;
    peer_sends(100);
    intake_begin(10);
    assert_int_equal(pthread_create(&thread, NULL, receive_elsewhere, &received), 0);
    pthread_join(thread, NULL);
    assert_int_equal(intake_end(), 10);
    assert_int_equal(received, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_limit_holds_over_several_calls_and_then_gives_eagain, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(the_unused_rest_of_the_limit_is_returned, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(without_a_limit_it_behaves_like_recv, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(another_thread_is_not_limited, open_pair, close_pair),
    };
    return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
