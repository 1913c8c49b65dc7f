/* cgi/answer/selection: what only= of a query string selects, or why it is an error. */
#include "tests/unit/unit.h"

#include "cgi/answer/selection.h"
#include "common/buf.h"

#include <stdio.h>
#include <string.h>

/* CHECK_NAME_SIZE - 1 characters */
#define LONGEST "n23456789012345678901234567890123456789012345678901234567890123"

/* FNV-1a with 32 bits is the same for this word and "liquid". */
#define HASHES_LIKE_LIQUID "costarring"

static struct snapshot *new_snapshot(void)
{
    static const char *const names[] = {"nodes", "edges", LONGEST, HASHES_LIKE_LIQUID};
    struct snapshot *s = snapshot_new(4);
    for (size_t i = 0; i < 4; i++)
        snprintf(s->checks[i].name, sizeof s->checks[i].name, "%s", names[i]);
    return s;
}

/* Writes "process,database,edges", or the word for the result. */
static const char *describe(const char *query)
{
    static char text[512];
    static const char *const words[] = {"absent", "", "unknown", "too many", "empty", "malformed"};
    struct snapshot *s = new_snapshot();
    struct selection selection;
    enum selection_result result = selection_read(query, s, &selection);

    snprintf(text, sizeof text, "%s", words[result]);
    if (result == SELECTION_MADE) {
        size_t len = (size_t)snprintf(text, sizeof text, "%s%s", selection.process ? "process," : "",
                                      selection.database ? "database," : "");
        for (size_t i = 0; i < s->check_count; i++)
            if (selection.checks[i])
                len += (size_t)snprintf(text + len, sizeof text - len, "%s,", s->checks[i].name);
        text[len - 1] = '\0';
    }
    snapshot_release(s);
    return text;
}

static void each_query_selects_what_it_names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "absent"},
        {"&&", "absent"},
        {"v=1", "absent"},
        {"Only=edges", "absent"},
        {"onlyx=edges", "absent"},
        {"xonly=edges", "absent"},
        {"=edges", "absent"},
        {"v=only=edges", "absent"},
        {"on%6cy2=edges", "absent"},
        {"only=edges", "database,edges"},
        {"only=" HASHES_LIKE_LIQUID, "database," HASHES_LIKE_LIQUID},
        {"only=liquid", "unknown"},
        {"only=process", "process"},
        {"only=database", "database"},
        {"only=edges&only=process", "process,database,edges"},
        {"only=edges&only=edges", "database,edges"},
        {"only=edges&only=nodes", "database,nodes,edges"},
        {"v=1&only=edges&w", "database,edges"},
        {"&only=edges&", "database,edges"},
        {"%6Fn%6cy=%65dge%73", "database,edges"},
        {"only=" LONGEST, "database," LONGEST},
        {"only=" LONGEST "n", "unknown"},
        {"only=%6e" LONGEST, "unknown"},
        {"only=edge", "unknown"},
        {"only=edgess", "unknown"},
        {"only=Edges", "unknown"},
        {"only=edges%20", "unknown"},
        {"only=edges,nodes", "unknown"},
        {"only=edges=1", "unknown"},
        {"only==edges", "unknown"},
        {"only=%C3%A9", "unknown"},
        {"only=backend", "unknown"},
        {"only=nothing&only=edges", "unknown"},
        {"only=edges&only=nothing", "unknown"},
        {"only=edges;only=nodes", "unknown"},
        {"only", "empty"},
        {"only=", "empty"},
        {"only&only=edges", "empty"},
        {"only=edges&only=", "empty"},
        {"only=nothing&only=", "empty"},
        {"on%6Cy=", "empty"},
        {"only=edges&only=&x=%", "malformed"},
        {"only=edges%00", "malformed"},
        {"only=edges%0a", "malformed"},
        {"only=\xc3\xa9", "malformed"},
        {"only=edges%2", "malformed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(describe(cases[i][0]), cases[i][1]);
}

static void a_long_query_is_read_to_its_end(void **state)
{
    (void)state;
    struct buf query = {0};
    for (size_t i = 0; i < SELECTION_MAX; i++)
        buf_append_str(&query, i % 2 == 0 ? "only=edges&v=%20&" : "only=process&");
    assert_string_equal(describe(query.data), "process,database,edges");
    for (size_t i = 0; i < 5000; i++)
        buf_append_str(&query, "v=1&");
    assert_string_equal(describe(query.data), "process,database,edges");
    buf_append_str(&query, "only=process&");
    assert_string_equal(describe(query.data), "too many");
    buf_append_str(&query, "only=nothing&");
    assert_string_equal(describe(query.data), "too many");
    buf_append_str(&query, "only=&");
    assert_string_equal(describe(query.data), "empty");
    buf_append_str(&query, "%");
    assert_string_equal(describe(query.data), "malformed");
    buf_free(&query);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_query_selects_what_it_names),
        cmocka_unit_test(a_long_query_is_read_to_its_end),
    };
    return cmocka_run_group_tests_name("selection", tests, NULL, NULL);
}
