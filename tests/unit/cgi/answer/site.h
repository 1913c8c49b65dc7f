/* A site over a snapshot of the test's own, for the tests of render, route and fcgi. */
#ifndef TESTS_UNIT_SITE_H
#define TESTS_UNIT_SITE_H

#include "cgi/answer/route.h"

#include <stdio.h>
#include <string.h>

struct test_site {
    struct snapshot *snapshot;
    struct verdict verdict;
    struct config config;
    struct transitions transitions;
    struct process_usage usage;
    struct site *site;
    const char *checks_error;
    int64_t now_ns;
};

static inline void test_site_view(void *context, struct render_input *out)
{
    struct test_site *t = context;
    *out = (struct render_input){
        .snapshot = t->snapshot,
        .verdict = &t->verdict,
        .version = "1.2.3",
        .now_ns = t->now_ns,
        .started_ns = 0,
        .config = &t->config,
        .transitions = &t->transitions,
        .usage = &t->usage,
        .connections = 3,
        .checks_error = t->checks_error,
    };
    if (t->site != NULL)
        out->requests = site_request_counts(t->site, &out->request_count);
}

/* A healthy site with count checks named c0, c1, ... whose values are 100, 101, ... */
static inline void test_site_init(struct test_site *t, size_t check_count)
{
    memset(t, 0, sizeof *t);
    t->snapshot = snapshot_new(check_count);
    t->snapshot->taken_wall_ms = 1769860800123; /* 2026-01-31T12:00:00.123Z */
    t->snapshot->database.server_version = 150018;
    t->now_ns = INT64_C(20794) * 1000000000 + 5;
    t->snapshot->taken_ns = t->now_ns - 1500000000;
    for (size_t i = 0; i < check_count; i++) {
        struct check_result *r = &t->snapshot->checks[i];
        snprintf(r->name, sizeof r->name, "c%zu", i);
        r->has_value = true;
        r->value = 100 + (int64_t)i;
        r->duration_us = 1234;
        r->checked_wall_ms = t->snapshot->taken_wall_ms;
    }
    t->verdict = (struct verdict){.status = HEALTH_HEALTHY, .counts_known = true};
    t->config = (struct config){.checks_path = "/etc/health-api/checks.sql",
                                .interval_ms = 2000,
                                .stale_after_ms = 6000,
                                .log_level = 6};
    t->checks_error = "";
    t->site = site_new(test_site_view, t, 2);
    site_refresh(t->site);
}

static inline void test_site_degrade(struct test_site *t, const char *check, enum reason reason)
{
    t->snapshot->degraded = true;
    t->snapshot->cause = reason;
    t->verdict = (struct verdict){.status = HEALTH_DEGRADED, .reason = reason, .counts_known = true};
    snprintf(t->verdict.check, sizeof t->verdict.check, "%s", check);
    site_refresh(t->site);
}

static inline void test_site_free(struct test_site *t)
{
    site_free(t->site);
    snapshot_release(t->snapshot);
}

#endif
