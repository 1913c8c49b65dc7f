/* The table of routes, the pages rendered for them, and the counters of requests. Main thread; struct site
 * owns the pages. */
#include "cgi/answer/route.h"

#include "common/clock.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ALLOWED_METHODS "GET, HEAD, OPTIONS"

struct route {
    const char *path;
    void (*render)(const struct facts *facts, struct buf *out);
    bool follows_status; /* 503 unless the verdict is healthy; false: always 200 */
    bool on_demand;      /* rendered at each request: it shows current numbers, and few clients ask */
};

static const struct route routes[] = {
    {.path = "/api/health", .render = document_health, .follows_status = true},
    {.path = "/api/status", .render = document_status, .follows_status = true, .on_demand = true},
    {.path = "/api/health/live", .render = document_live},
};

enum { ROUTE_COUNT = sizeof routes / sizeof routes[0], ROUTE_OTHER = ROUTE_COUNT };

static const struct {
    int code;
    const char *phrase;
} codes[] = {
    {200, "OK"},
    {400, "Bad Request"},
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
    struct page pages[ROUTE_COUNT];
    struct buf body;    /* scratch */
    struct buf problem; /* the last 4xx response */
    uint64_t totals[ROUTE_COUNT + 1][CODE_COUNT];
};

struct site *site_new(void)
{
    return mem_calloc(1, sizeof(struct site));
}

void site_free(struct site *site)
{
    if (site == NULL)
        return;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        buf_free(&site->pages[i].get);
        buf_free(&site->pages[i].options);
    }
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
static void append_head(struct buf *out, int status, int64_t retry_after_s, const char *allow,
                        size_t content_length)
{
    bool problem = status >= 400 && status < 500;
    buf_appendf(out,
                "Status: %d %s\r\n"
                "Content-Type: application/%s\r\n"
                "Content-Length: %zu\r\n"
                "Cache-Control: no-store\r\n"
                "X-Content-Type-Options: nosniff\r\n"
                "X-Health-Source: backend\r\n",
                status, codes[code_index(status)].phrase, problem ? "problem+json" : "json", content_length);
    if (retry_after_s > 0)
        buf_appendf(out, "Retry-After: %" PRId64 "\r\n", retry_after_s);
    if (allow != NULL)
        buf_appendf(out, "Allow: %s\r\n", allow);
    buf_append_str(out, "\r\n");
}

static void render_page(struct site *site, size_t i, const struct facts *facts)
{
    struct page *page = &site->pages[i];
    bool is_good = !routes[i].follows_status || facts->verdict->status == HEALTH_HEALTHY;
    /* By then there is a newer snapshot. */
    int64_t retry_after_s = is_good ? 0 : (facts->config->interval_ms + MS_PER_S - 1) / MS_PER_S;

    page->status = is_good ? 200 : 503;
    buf_reset(&site->body);
    routes[i].render(facts, &site->body);

    buf_reset(&page->get);
    append_head(&page->get, page->status, retry_after_s, NULL, site->body.len);
    page->head_len = page->get.len;
    buf_append(&page->get, site->body.data, site->body.len);

    buf_reset(&page->options);
    append_head(&page->options, page->status, retry_after_s, ALLOWED_METHODS, 0);
}

void site_render(struct site *site, const struct facts *facts)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        if (!routes[i].on_demand)
            render_page(site, i, facts);
}

static void render_on_demand(struct site *site, size_t i, const struct facts *facts)
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
    render_page(site, i, &all);
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

bool route_needs_snapshot(const struct request *request)
{
    size_t i = find_route(request);
    return i != ROUTE_OTHER && routes[i].follows_status;
}

/* Accepts unknown parameters, because cache busters are common. Rejects broken encoding (RFC 3986, 2.1 and
 * 3.4), but not printable characters that a strict client would have encoded. */
static bool query_is_well_formed(const char *query)
{
    for (const unsigned char *p = (const unsigned char *)query; *p != '\0'; p++) {
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
        if (*p != '%')
            continue;
        if (!isxdigit(p[1]) || !isxdigit(p[2]))
            return false;
        bool is_control = (p[1] == '0' || p[1] == '1') || (p[1] == '7' && tolower(p[2]) == 'f');
        if (is_control)
            return false;
        p += 2;
    }
    return true;
}

static struct response count_answer(struct site *site, size_t route, int status, const struct buf *bytes,
                                    size_t len)
{
    site->totals[route][code_index(status)]++;
    return (struct response){.bytes = bytes->data, .len = len, .status = status};
}

/* with_body is false for HEAD and OPTIONS. Content-Length is still that of the body. */
static struct response answer_problem(struct site *site, size_t route, int status, const char *detail,
                                      bool with_body)
{
    buf_reset(&site->body);
    document_problem(status, codes[code_index(status)].phrase, detail, &site->body);
    buf_reset(&site->problem);
    append_head(&site->problem, status, 0, status == 405 ? ALLOWED_METHODS : NULL, site->body.len);
    if (with_body)
        buf_append(&site->problem, site->body.data, site->body.len);
    return count_answer(site, route, status, &site->problem, site->problem.len);
}

struct response site_answer(struct site *site, const struct request *request, const struct facts *facts)
{
    const char *method = or_empty(request->method);
    bool is_head = strcmp(method, "HEAD") == 0;
    bool is_options = strcmp(method, "OPTIONS") == 0;
    size_t i = find_route(request);

    if (request->too_long)
        return answer_problem(site, ROUTE_OTHER, 431,
                              "The parameters of the request are longer than 65535 bytes.", true);
    if (is_empty(method))
        return answer_problem(site, i, 400, "The request has no method.", true);
    if (i == ROUTE_OTHER)
        return answer_problem(site, i, 404, "There is no such route.", !is_head && !is_options);
    if (!is_head && !is_options && strcmp(method, "GET") != 0)
        return answer_problem(site, i, 405, "This route answers " ALLOWED_METHODS ".", true);
    if (!query_is_well_formed(or_empty(request->query))) {
        return answer_problem(site, i, 400, "The query string is not well-formed (RFC 3986, section 3.4).",
                              !is_head && !is_options);
    }
    if (routes[i].on_demand)
        render_on_demand(site, i, facts);
    const struct page *page = &site->pages[i];
    if (is_options)
        return count_answer(site, i, page->status, &page->options, page->options.len);
    return count_answer(site, i, page->status, &page->get, is_head ? page->head_len : page->get.len);
}
