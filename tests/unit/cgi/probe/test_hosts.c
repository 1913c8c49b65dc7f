/* cgi/probe/hosts: reading libpq's lists of hosts, updating and ordering them, and writing them for libpq. */
#include "tests/unit/unit.h"

#include "cgi/probe/hosts.h"

#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1000)

static struct hosts hosts;

static void parse(const char *names, const char *addresses, const char *ports)
{
    memset(&hosts, 0xff, sizeof hosts);
    hosts_parse(names, addresses, ports, &hosts);
}

/* Expects these hosts in this order, each as name/address/port. */
static void assert_hosts(const char *expected)
{
    char text[1024] = "";
    size_t len = 0;
    for (size_t i = 0; i < hosts.count; i++) {
        const struct host *h = &hosts.items[i];
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s/%s/%s", i > 0 ? " " : "", h->name,
                                h->address, h->port);
    }
    assert_string_equal(text, expected);
}

static void without_a_host_libpq_uses_its_default(void **state)
{
    (void)state;
    parse(NULL, NULL, NULL);
    assert_hosts("");
    parse("", "", "5433");
    assert_hosts("");
}

static void entries_belong_together_by_their_position(void **state)
{
    (void)state;
    parse("a,b,c", NULL, "1,2,3");
    assert_hosts("a//1 b//2 c//3");
    parse("a,b", "10.0.0.1,", "1,");
    assert_hosts("a/10.0.0.1/1 b//");
    parse(NULL, "10.0.0.1,::1", NULL);
    assert_hosts("/10.0.0.1/ /::1/");
    parse(",x", "", "");
    assert_hosts("// x//");
    parse("a,", NULL, NULL);
    assert_hosts("a// //");
}

static void a_single_port_applies_to_all_hosts(void **state)
{
    (void)state;
    parse("a,b,c", NULL, "5433");
    assert_hosts("a//5433 b//5433 c//5433");
}

static void lists_that_libpq_rejects_are_left_to_libpq(void **state)
{
    (void)state;
    parse("a,b", "10.0.0.1", NULL);
    assert_hosts("");
    parse("a,b,c", NULL, "1,2");
    assert_hosts("");
    parse("a", NULL, "12345678");
    assert_hosts("");
    parse("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", NULL, NULL);
    assert_int_equal(hosts.count, HOSTS_MAX);
    parse("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", NULL, NULL);
    assert_hosts("");
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    parse(name, NULL, NULL);
    assert_hosts("");
    name[255] = '\0';
    parse(name, NULL, NULL);
    assert_int_equal(hosts.count, 1);
}

static void only_a_name_is_looked_up(void **state)
{
    (void)state;
    static const struct {
        struct host host;
        bool is_name;
    } rows[] = {
        {{.name = "db"}, true},
        {{.name = "localhost"}, true},
        {{.name = "db.example."}, true},
        {{.name = "10.0.0.1.example"}, true},
        {{.name = "db", .address = "10.0.0.1"}, false},
        {{.name = ""}, false},
        {{.name = "/run/postgresql"}, false},
        {{.name = "@abstract"}, false},
        {{.name = "10.0.0.1"}, false},
        {{.name = "::1"}, false},
        {{.address = "10.0.0.1"}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(host_is_name(&rows[i].host), rows[i].is_name);
}

static void update(const char *names, const char *addresses)
{
    struct hosts fresh;
    hosts_parse(names, addresses, NULL, &fresh);
    hosts_update(&hosts, &fresh, NOW);
}

static void a_lookup_replaces_the_old_addresses(void **state)
{
    (void)state;
    parse(NULL, NULL, NULL);
    update("a,a", "1,2");
    assert_hosts("a/1/ a/2/");
    update("a,a,a", "3,2,1");
    assert_hosts("a/3/ a/2/ a/1/");
    update("a,a", "3,1");
    assert_hosts("a/3/ a/1/");
    update("a", "9");
    assert_hosts("a/9/");
}

static void a_name_that_cannot_be_looked_up_keeps_its_addresses(void **state)
{
    (void)state;
    parse(NULL, NULL, NULL);
    update("a,b", ",7");
    assert_hosts("b/7/");
    update("a,a,b", "1,2,7");
    assert_hosts("a/1/ a/2/ b/7/");
    update("a,b", ",");
    assert_hosts("a/1/ a/2/ b/7/");
    update("a,b", ",8");
    assert_hosts("a/1/ a/2/ b/8/");
    update("b", "");
    assert_hosts("b/8/");
}

static void a_directory_and_an_address_need_no_lookup(void **state)
{
    (void)state;
    parse(NULL, NULL, NULL);
    update("/run/postgresql,10.0.0.1,db", NULL);
    assert_hosts("/run/postgresql// 10.0.0.1//");
    update("/run/postgresql,db", ",1");
    assert_hosts("/run/postgresql// db/1/");
}

static void hosts_beyond_the_maximum_are_left_out(void **state)
{
    (void)state;
    parse("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", NULL);
    update("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16");
    assert_int_equal(hosts.count, HOSTS_MAX);
    assert_false(hosts_add(&hosts, &(struct host){.name = "a"}));
    assert_int_equal(hosts.count, HOSTS_MAX);
}

static void a_late_host_is_tried_last_until_it_is_no_longer_late(void **state)
{
    (void)state;
    parse("a,b,c", "1,2,3", NULL);
    hosts_demote(&hosts, NOW + 10);
    assert_hosts("b/2/ c/3/ a/1/");
    hosts_demote(&hosts, NOW + 20);
    assert_hosts("c/3/ a/1/ b/2/");
    update("a,b,c", "1,2,3"); /* a lookup does not move the late one forward */
    assert_hosts("c/3/ a/1/ b/2/");
    hosts_demote(&hosts, NOW + 30);
    update("a,b,c", "1,2,3"); /* all are late, so the one that was late first comes first */
    assert_hosts("a/1/ b/2/ c/3/");
    hosts_demote(&hosts, NOW);
    update("a,b,c", "1,2,3");
    assert_hosts("a/1/ b/2/ c/3/");
    hosts.items[1].late_until = NOW + 1;
    update("b,b", "9,2"); /* the address identifies a host */
    assert_hosts("b/9/ b/2/");
}

static void demoting_the_only_host_changes_nothing(void **state)
{
    (void)state;
    parse("a", NULL, NULL);
    hosts_demote(&hosts, NOW);
    assert_hosts("a//");
    parse(NULL, NULL, NULL);
    hosts_demote(&hosts, NOW);
    assert_hosts("");
}

static void libpq_gets_three_lists_of_the_same_length(void **state)
{
    (void)state;
    struct buf names = {0}, addresses = {0}, ports = {0};
    parse("a,b,/run", "10.0.0.1,::1,", "5433");
    hosts_join_names(&hosts, &names);
    hosts_join_addresses(&hosts, &addresses);
    hosts_join_ports(&hosts, &ports);
    assert_string_equal(names.data, "a,b,/run");
    assert_string_equal(addresses.data, "10.0.0.1,::1,");
    assert_string_equal(ports.data, "5433,5433,5433");
    buf_free(&names);
    buf_free(&addresses);
    buf_free(&ports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_host_libpq_uses_its_default),
        cmocka_unit_test(entries_belong_together_by_their_position),
        cmocka_unit_test(a_single_port_applies_to_all_hosts),
        cmocka_unit_test(lists_that_libpq_rejects_are_left_to_libpq),
        cmocka_unit_test(only_a_name_is_looked_up),
        cmocka_unit_test(a_lookup_replaces_the_old_addresses),
        cmocka_unit_test(a_name_that_cannot_be_looked_up_keeps_its_addresses),
        cmocka_unit_test(a_directory_and_an_address_need_no_lookup),
        cmocka_unit_test(hosts_beyond_the_maximum_are_left_out),
        cmocka_unit_test(a_late_host_is_tried_last_until_it_is_no_longer_late),
        cmocka_unit_test(demoting_the_only_host_changes_nothing),
        cmocka_unit_test(libpq_gets_three_lists_of_the_same_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
