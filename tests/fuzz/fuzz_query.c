/* Fuzzes the query string of a request: any bytes get one of four status codes, the same for each method, and
 * at most one rendering. */
#include "cgi/answer/route.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The linker redirects each call of document_health and document_bare_health here (--wrap). */
void __real_document_health(const struct facts *facts, struct buf *out);
void __wrap_document_health(const struct facts *facts, struct buf *out);
void __real_document_bare_health(const struct facts *facts, struct buf *out);
void __wrap_document_bare_health(const struct facts *facts, struct buf *out);

static int renderings;

void __wrap_document_health(const struct facts *facts, struct buf *out)
{
    renderings++;
    __real_document_health(facts, out);
}

void __wrap_document_bare_health(const struct facts *facts, struct buf *out)
{
    renderings++;
    __real_document_bare_health(facts, out);
}

static struct snapshot *new_snapshot(void)
{
    static const char *const names[] = {"edges", "lag", "o", "nodes"};
    struct snapshot *s = snapshot_new(sizeof names / sizeof names[0]);
    for (size_t i = 0; i < s->check_count; i++)
        strcpy(s->checks[i].name, names[i]);
    s->checks[1].down = true;
    return s;
}

static int ask(struct site *site, const struct facts *facts, const char *method, const char *query)
{
    const struct request request = {.method = method, .script_name = "/api/health", .query = query};
    renderings = 0;
    int status = site_answer(site, &request, facts).status;
    if ((status != 200 && status != 400 && status != 404 && status != 503) || renderings > 1)
        abort();
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config configs[] = {{.public_view = PUBLIC_FULL, .stale_after_ms = 6000},
                                      {.public_view = PUBLIC_BARE, .stale_after_ms = 6000}};
    static const struct process_facts process = {.checks_error = ""};
    static const struct verdict verdict = {.status = HEALTH_DEGRADED};
    static struct transitions transitions;
    static struct snapshot *snapshot;
    static struct site *site;
    if (site == NULL) {
        snapshot = new_snapshot();
        site = site_new();
    }
    char *query = malloc(size + 1); /* of its own, so that a read beyond its end is noticed */
    memcpy(query, data, size);
    query[size] = '\0';
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        const struct facts facts = {.config = &configs[i],
                                    .snapshot = snapshot,
                                    .verdict = &verdict,
                                    .transitions = &transitions,
                                    .process = &process};
        site_render(site, &facts);
        int status = ask(site, &facts, "GET", query);
        if (ask(site, &facts, "HEAD", query) != status || ask(site, &facts, "OPTIONS", query) != status)
            abort();
    }
    free(query);
    return 0;
}
