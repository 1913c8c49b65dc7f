/* Method and path -> response, by one table. Knows nothing of FastCGI: the same answers serve CGI. Main
 * thread. */
#ifndef ANSWER_ROUTE_H
#define ANSWER_ROUTE_H

#include "cgi/answer/document.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* What of a request decides the answer; NULL and "" are the same. Borrowed. */
struct request {
    const char *method;
    const char *path_info;
    const char *script_name;
    const char *query;
};

/* A CGI response (RFC 3875, 6): headers beginning with Status, an empty line, the body. Valid until the next
 * call on the same site. */
struct response {
    const char *bytes;
    size_t len;
    int status;
};

/* Collects what /api/status is made of, at the time of a request. */
typedef void route_view_fn(void *context, struct render_input *out);

struct site;

/* view is called with context for each /api/status answer and by site_refresh. retry_after_s goes into 503s.
 */
struct site *site_new(route_view_fn *view, void *context, int retry_after_s);
void site_free(struct site *site);

/* Renders the documents that requests copy. Call after each change of snapshot or verdict. */
void site_refresh(struct site *site);

/* Whether the answer depends on the database: what a one-shot caller need not probe for when it does not. */
bool route_needs_snapshot(const struct request *request);

/* Answers any request, bad ones included; counts it. */
struct response route_answer(struct site *site, const struct request *request);

/* The counters behind requests_total; valid until the next call. */
const struct request_count *site_request_counts(struct site *site, size_t *count);

#endif
