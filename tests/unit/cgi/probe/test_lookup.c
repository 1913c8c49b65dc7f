/* cgi/probe/lookup: lookups of names in an errand. The resolver is the getaddrinfo of this file, which may
 * hang. */
#include "tests/unit/unit.h"

#include "cgi/probe/lookup.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER; /* the resolver hangs while the test holds it */
static atomic_int calls;

/* "one", "two" and "many" have addresses, others have none. This replaces the function of the C library. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int count = strcmp(name, "one") == 0    ? 1
                : strcmp(name, "two") == 0  ? 2
                : strcmp(name, "many") == 0 ? 20
                                            : 0;

    (void)service;
    (void)hints;
    atomic_fetch_add(&calls, 1);
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
    *out = NULL;
    for (int i = count; i > 0; i--) {
        struct addrinfo *info = calloc(1, sizeof *info);
        struct sockaddr_in *address = calloc(1, sizeof *address);
        assert_non_null(info);
        assert_non_null(address);
        *address =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000U + (unsigned)i)};
        *info = (struct addrinfo){.ai_family = AF_INET,
                                  .ai_addrlen = sizeof *address,
                                  .ai_addr = (struct sockaddr *)address,
                                  .ai_next = *out};
        *out = info;
    }
    return count > 0 ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
    for (struct addrinfo *next; list != NULL; list = next) {
        next = list->ai_next;
        free(list->ai_addr);
        free(list);
    }
}

static struct errand *start(const char *names, const char *addresses)
{
    struct hosts hosts;
    struct error err;
    hosts_parse(names, addresses, "5433", &hosts);
    struct errand *lookup = lookup_start(&hosts, &err);
    assert_non_null(lookup);
    return lookup;
}

static void wait_for_end(const struct errand *lookup)
{
    struct pollfd pfd = {.fd = errand_fd(lookup), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 10000), 1);
}

/* Expects these addresses and this error. */
static void expect_found(const char *names, const char *addresses, const char *found, const char *error)
{
    struct errand *lookup = start(names, addresses);
    struct hosts hosts;
    struct error err;
    struct buf text = {0};

    wait_for_end(lookup);
    assert_true(lookup_take(lookup, &hosts, &err));
    hosts_join_addresses(&hosts, &text);
    assert_string_equal(text.data, found);
    assert_string_equal(err.text, error);
    for (size_t i = 0; i < hosts.count; i++)
        assert_string_equal(hosts.items[i].port, "5433");
    buf_free(&text);
    errand_release(lookup);
}

static void each_address_of_each_name_is_found_in_order(void **state)
{
    (void)state;
    expect_found("one,two", NULL, "10.0.0.1,10.0.0.1,10.0.0.2", "");
}

static void a_name_with_many_addresses_leaves_room_for_the_others(void **state)
{
    (void)state;
    expect_found("many,one", NULL,
                 "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.1", "");
}

static void only_names_are_looked_up(void **state)
{
    (void)state;
    int before = atomic_load(&calls);
    expect_found("/run/postgresql,10.1.1.1,one", ",,10.9.9.9", ",,10.9.9.9", "");
    assert_int_equal(atomic_load(&calls), before);
}

static void the_first_name_that_fails_is_reported_and_has_no_address(void **state)
{
    (void)state;
    expect_found("one,none,two,other", NULL, "10.0.0.1,,10.0.0.1,10.0.0.2,",
                 "could not translate host name \"none\" to address: Name or service not known");
}

static void a_resolver_that_hangs_blocks_no_caller(void **state)
{
    (void)state;
    struct hosts hosts;
    struct error err;
    int before = atomic_load(&calls);

    pthread_mutex_lock(&held);
    struct errand *lookup = start("10.1.1.1,one,two", NULL);
    struct errand *abandoned = start("one", NULL);
    while (atomic_load(&calls) < before + 2)
        (void)poll(NULL, 0, 1);
    assert_false(lookup_take(lookup, &hosts, &err));
    assert_string_equal(lookup_name(lookup), "one");
    errand_release(abandoned); /* its thread frees it; the sanitizer would report a leak */
    pthread_mutex_unlock(&held);
    wait_for_end(lookup);
    assert_true(lookup_take(lookup, &hosts, &err));
    errand_release(lookup);
    errand_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_of_each_name_is_found_in_order),
        cmocka_unit_test(a_name_with_many_addresses_leaves_room_for_the_others),
        cmocka_unit_test(only_names_are_looked_up),
        cmocka_unit_test(the_first_name_that_fails_is_reported_and_has_no_address),
        cmocka_unit_test(a_resolver_that_hangs_blocks_no_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
