/* The table of routes, the pages rendered for them, and the counters of requests. Main thread; struct site
 * owns the pages. */
#include "cgi/answer/route.h"

#include "cgi/answer/metrics.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ALLOWED_METHODS "GET, HEAD, OPTIONS"

#define JSON         "application/json"
#define PROBLEM_JSON "application/problem+json"

struct route {
    const char *path;
    const char *content_type;
    void (*render)(const struct facts *facts, struct buf *out);
    void (*render_bare)(const struct facts *facts, struct buf *out); /* NULL: only for operators */
    bool needs_snapshot;                                             /* shows the database */
    bool follows_status; /* 503 unless the verdict is healthy; false: always 200 */
    bool on_demand;      /* rendered at each request: it shows current numbers, and few clients ask */
    bool takes_only;     /* the query may limit the response to some checks (cgi/answer/selection.h) */
};

static const struct route routes[] = {
    {.path = "/api/health",
     .content_type = JSON,
     .render = document_health,
     .render_bare = document_bare_health,
     .needs_snapshot = true,
     .follows_status = true,
     .takes_only = true},
    {.path = "/api/status",
     .content_type = JSON,
     .render = document_status,
     .needs_snapshot = true,
     .follows_status = true,
     .on_demand = true},
    {.path = "/api/health/live",
     .content_type = JSON,
     .render = document_live,
     .render_bare = document_bare_live},
    {.path = "/api/metrics",
     .content_type = METRICS_CONTENT_TYPE,
     .render = metrics_render,
     .needs_snapshot = true,
     .on_demand = true},
};

enum { ROUTE_COUNT = sizeof routes / sizeof routes[0], ROUTE_OTHER = ROUTE_COUNT };

static const struct {
    int code;
    const char *phrase;
} codes[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {431, "Request Header Fields Too Large"},
    {503, "Service Unavailable"},
};

enum { CODE_COUNT = sizeof codes / sizeof codes[0] };

struct page {
    int status;
    struct buf get;     /* headers, empty line, body */
    size_t head_len;    /* the part that answers HEAD: all but the body, RFC 9110, 9.3.2 */
    struct buf options; /* headers and empty line */
};

struct site {
    struct page pages[ROUTE_COUNT][PUBLIC_BARE + 1];
    struct page last;   /* the last page that was rendered at a request */
    struct buf body;    /* scratch */
    struct buf problem; /* the last 4xx response */
    uint64_t totals[ROUTE_COUNT + 1][CODE_COUNT];
};

struct site *site_new(void)
{
    return mem_calloc(1, sizeof(struct site));
}

static void free_page(struct page *page)
{
    buf_free(&page->get);
    buf_free(&page->options);
}

void site_free(struct site *site)
{
    if (site == NULL)
        return;
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        for (size_t view = PUBLIC_FULL; view <= PUBLIC_BARE; view++)
            free_page(&site->pages[i][view]);
    free_page(&site->last);
    buf_free(&site->body);
    buf_free(&site->problem);
    free(site);
}

static size_t code_index(int code)
{
    size_t i = 0;
    while (i < CODE_COUNT - 1 && codes[i].code != code)
        i++;
    return i;
}

/* retry_after_s: 0 for none. */
static void append_head(struct buf *out, int status, const char *content_type, int64_t retry_after_s,
                        const char *allow, size_t content_length)
{
    buf_appendf(out,
                "Status: %d %s\r\n"
                "Content-Type: %s\r\n"
                "Content-Length: %zu\r\n"
                "Cache-Control: no-store\r\n"
                "X-Content-Type-Options: nosniff\r\n"
                "X-Health-Source: backend\r\n",
                status, codes[code_index(status)].phrase, content_type, content_length);
    if (retry_after_s > 0)
        buf_appendf(out, "Retry-After: %" PRId64 "\r\n", retry_after_s);
    if (allow != NULL)
        buf_appendf(out, "Allow: %s\r\n", allow);
    buf_append_str(out, "\r\n");
}

static void render_page(struct site *site, const struct route *route, enum public_view view,
                        const struct facts *facts, struct page *page)
{
    bool is_good = !route->follows_status || facts->verdict->status == HEALTH_HEALTHY;
    /* By then there is a newer snapshot. */
    int64_t retry_after_s = is_good ? 0 : (facts->config->interval_ms + MS_PER_S - 1) / MS_PER_S;

    page->status = is_good ? 200 : 503;
    buf_reset(&site->body);
    (view == PUBLIC_BARE ? route->render_bare : route->render)(facts, &site->body);

    buf_reset(&page->get);
    append_head(&page->get, page->status, route->content_type, retry_after_s, NULL, site->body.len);
    page->head_len = page->get.len;
    buf_append(&page->get, site->body.data, site->body.len);

    buf_reset(&page->options);
    append_head(&page->options, page->status, route->content_type, retry_after_s, ALLOWED_METHODS, 0);
}

void site_render(struct site *site, const struct facts *facts)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = &routes[i];
        if (!route->on_demand)
            render_page(site, route, PUBLIC_FULL, facts, &site->pages[i][PUBLIC_FULL]);
        if (facts->config->public_view == PUBLIC_BARE && route->render_bare != NULL)
            render_page(site, route, PUBLIC_BARE, facts, &site->pages[i][PUBLIC_BARE]);
    }
}

static void render_with_requests(struct site *site, const struct route *route, const struct facts *facts)
{
    struct request_count counts[(ROUTE_COUNT + 1) * CODE_COUNT];
    struct facts all = *facts;

    all.requests = counts;
    all.request_count = 0;
    for (size_t r = 0; r <= ROUTE_COUNT; r++) {
        for (size_t c = 0; c < CODE_COUNT; c++) {
            if (site->totals[r][c] == 0)
                continue;
            counts[all.request_count++] = (struct request_count){
                .route = r == ROUTE_OTHER ? "other" : routes[r].path,
                .code = codes[c].code,
                .total = site->totals[r][c],
            };
        }
    }
    render_page(site, route, PUBLIC_FULL, &all, &site->last);
}

static void render_selected(struct site *site, const struct route *route, enum public_view view,
                            const struct selection *selection, const struct facts *facts)
{
    const struct verdict verdict = verdict_judge(facts->snapshot, facts->process, selection, facts->now_ns,
                                                 facts->config->stale_after_ms * NS_PER_MS);
    struct facts selected = *facts;

    selected.selection = selection;
    selected.verdict = &verdict;
    render_page(site, route, view, &selected, &site->last);
}

static bool is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* Whether head followed by tail is the path. */
static bool path_is(const char *path, const char *head, const char *tail)
{
    size_t head_len = strlen(head);
    return strncmp(path, head, head_len) == 0 && strcmp(path + head_len, tail) == 0;
}

/* Takes PATH_INFO if it is not empty, else SCRIPT_NAME. A CGI server that maps a prefix (ScriptAlias /api)
 * splits the path between the two (RFC 3875, 4.1.5 and 4.1.13), so the last attempt joins them. */
static size_t find_route(const struct request *request)
{
    const char *script_name = or_empty(request->script_name);
    const char *path_info = or_empty(request->path_info);

    for (size_t i = 0; i < ROUTE_COUNT; i++)
        if (path_is(routes[i].path, is_empty(path_info) ? script_name : path_info, ""))
            return i;
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        if (path_is(routes[i].path, script_name, path_info))
            return i;
    return ROUTE_OTHER;
}

static const struct snapshot no_checks;

static enum public_view view_of(const struct request *request, const struct config *config)
{
    return strcmp(or_empty(request->audience), "operator") == 0 ? PUBLIC_FULL : config->public_view;
}

bool route_needs_snapshot(const struct request *request, const struct config *config)
{
    enum public_view view = view_of(request, config);
    struct selection selection;
    size_t i = find_route(request);

    if (i == ROUTE_OTHER || !routes[i].needs_snapshot ||
        (view == PUBLIC_BARE && routes[i].render_bare == NULL))
        return false;
    enum selection_result result = selection_read(or_empty(request->query), &no_checks, &selection);
    if (!routes[i].takes_only)
        return result != SELECTION_MALFORMED;
    switch (result) {
    case SELECTION_ABSENT: return true;
    case SELECTION_MADE: return selection.database;
    case SELECTION_UNKNOWN: return view == PUBLIC_FULL; /* it may be a check */
    case SELECTION_TOO_MANY:
    case SELECTION_EMPTY:
    case SELECTION_MALFORMED: break;
    }
    return false;
}

static struct response count_answer(struct site *site, size_t route, int status, const struct buf *bytes,
                                    size_t len)
{
    site->totals[route][code_index(status)]++;
    return (struct response){.bytes = bytes->data, .len = len, .status = status};
}

/* Content-Length is that of the body, which HEAD does not get. */
static struct response answer_problem(struct site *site, size_t route, const struct request *request,
                                      int status, const char *detail)
{
    buf_reset(&site->body);
    document_problem(status, codes[code_index(status)].phrase, detail, &site->body);
    buf_reset(&site->problem);
    append_head(&site->problem, status, PROBLEM_JSON, 0, status == 405 ? ALLOWED_METHODS : NULL,
                site->body.len);
    if (strcmp(or_empty(request->method), "HEAD") != 0)
        buf_append(&site->problem, site->body.data, site->body.len);
    return count_answer(site, route, status, &site->problem, site->problem.len);
}

static struct response answer_page(struct site *site, size_t route, const struct request *request,
                                   const struct page *page)
{
    if (strcmp(request->method, "OPTIONS") == 0)
        return count_answer(site, route, page->status, &page->options, page->options.len);
    bool is_head = strcmp(request->method, "HEAD") == 0;
    return count_answer(site, route, page->status, &page->get, is_head ? page->head_len : page->get.len);
}

/* Answers a request with a good method for an existing route. */
static struct response answer_route(struct site *site, size_t i, const struct request *request,
                                    const struct facts *facts)
{
    const struct route *route = &routes[i];
    enum public_view view = view_of(request, facts->config);
    struct selection selection;

    if (view == PUBLIC_BARE && route->render_bare == NULL)
        return answer_problem(site, i, request, 403, "Only operators see this route.");
    /* To strangers no check exists: otherwise they could find out the names. */
    const struct snapshot *known = view == PUBLIC_BARE ? &no_checks : facts->snapshot;
    enum selection_result result = selection_read(or_empty(request->query), known, &selection);
    if (result == SELECTION_MALFORMED)
        return answer_problem(site, i, request, 400,
                              "The query string is not well-formed (RFC 3986, section 3.4).");
    if (route->takes_only && result == SELECTION_EMPTY)
        return answer_problem(site, i, request, 400,
                              "only= has no value: it takes the name of a check, database or process.");
    if (route->takes_only && result == SELECTION_TOO_MANY)
        return answer_problem(site, i, request, 400, "only= may be repeated 258 times at most.");
    if (route->takes_only && result == SELECTION_UNKNOWN)
        return answer_problem(
            site, i, request, 404,
            "only= has an unknown value: it takes the name of a check, database or process.");
    if (route->takes_only && result == SELECTION_MADE)
        render_selected(site, route, view, &selection, facts);
    else if (route->on_demand)
        render_with_requests(site, route, facts);
    else
        return answer_page(site, i, request, &site->pages[i][view]);
    return answer_page(site, i, request, &site->last);
}

struct response site_answer(struct site *site, const struct request *request, const struct facts *facts)
{
    const char *method = or_empty(request->method);
    size_t i = find_route(request);

    if (request->too_long)
        return answer_problem(site, ROUTE_OTHER, request, 431,
                              "The parameters of the request are longer than 65535 bytes.");
    if (is_empty(method))
        return answer_problem(site, i, request, 400, "The request has no method.");
    if (i == ROUTE_OTHER)
        return answer_problem(site, i, request, 404, "There is no such route.");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "OPTIONS") != 0)
        return answer_problem(site, i, request, 405, "This route answers " ALLOWED_METHODS ".");
    return answer_route(site, i, request, facts);
}
