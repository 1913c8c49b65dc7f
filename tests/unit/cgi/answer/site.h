/* A site that shows the test's own snapshot, for the tests of document, route and fcgi. */
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
    struct process_facts process;
    struct site *site;
    int64_t now_ns;
};

static inline struct facts test_site_facts(const struct test_site *t)
{
    return (struct facts){
        .config = &t->config,
        .snapshot = t->snapshot,
        .verdict = &t->verdict,
        .transitions = &t->transitions,
        .process = &t->process,
        .now_ns = t->now_ns,
    };
}

static inline void test_site_render(struct test_site *t)
{
    const struct facts facts = test_site_facts(t);
    site_render(t->site, &facts);
}

static inline struct response test_site_answer(struct test_site *t, const struct request *request)
{
    const struct facts facts = test_site_facts(t);
    return site_answer(t->site, request, &facts);
}

/* Makes a healthy site whose checks are named c0, c1, ... and have the values 100, 101, ... */
static inline void test_site_init(struct test_site *t, size_t check_count)
{
    memset(t, 0, sizeof *t);
    t->snapshot = snapshot_new(check_count);
    t->snapshot->taken_wall_ms = 1769860800123; /* 2026-01-31T12:00:00.123Z */
    t->snapshot->database.server = (struct database_server){.version = 150018,
                                                            .host = "db",
                                                            .address = "10.0.0.1",
                                                            .port = "5432",
                                                            .database = "knowledge",
                                                            .user = "health_api"};
    t->now_ns = INT64_C(20794) * 1000000000 + 5;
    t->snapshot->taken_ns = t->now_ns - 1500000000;
    for (size_t i = 0; i < check_count; i++) {
        struct check_result *r = &t->snapshot->checks[i];
        snprintf(r->name, sizeof r->name, "c%zu", i);
        r->has_value = true;
        r->value = 100 + (int64_t)i;
        r->duration_us = 1234;
        r->checked_wall_ms = t->snapshot->taken_wall_ms;
        r->checked_ns = t->snapshot->taken_ns;
    }
    t->verdict = (struct verdict){.status = HEALTH_HEALTHY, .counts_known = true};
    t->config = (struct config){.checks_path = "/etc/health-api/checks.sql",
                                .interval_ms = 2000,
                                .stale_after_ms = 6000,
                                .log_level = 6};
    t->process = (struct process_facts){.connections = 3};
    t->site = site_new();
    test_site_render(t);
}

static inline void test_site_degrade(struct test_site *t, const char *check, enum reason reason)
{
    for (size_t i = 0; i < t->snapshot->check_count; i++) {
        struct check_result *r = &t->snapshot->checks[i];
        if (strcmp(r->name, check) == 0) {
            r->down = true;
            r->down_reason = reason;
        }
    }
    t->verdict = (struct verdict){.status = HEALTH_DEGRADED, .reason = reason, .counts_known = true};
    snprintf(t->verdict.check, sizeof t->verdict.check, "%s", check);
    test_site_render(t);
}

static inline void test_site_free(struct test_site *t)
{
    site_free(t->site);
    snapshot_release(t->snapshot);
}

#endif
