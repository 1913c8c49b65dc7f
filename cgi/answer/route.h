/* Method and path -> response, by one table. Knows nothing of FastCGI: the same answers serve CGI. Main
 * thread. */
#ifndef ANSWER_ROUTE_H
#define ANSWER_ROUTE_H

#include "cgi/answer/document.h"

#include <stdbool.h>
#include <stddef.h>

/* What of a request decides the answer; NULL and "" are the same. Borrowed. */
struct request {
    const char *method;
    const char *path_info;
    const char *script_name;
    const char *query;
    bool too_long; /* longer than this program reads: the rest is NULL */
};

/* A CGI response (RFC 3875, 6): headers beginning with Status, an empty line, the body. Valid until the next
 * call on the same site. */
struct response {
    const char *bytes;
    size_t len;
    int status;
};

/* The pages that requests copy, and the count of the requests. */
struct site;

struct site *site_new(void);
void site_free(struct site *site);

/* Renders the pages. Call after each change of what they are made of. */
void site_render(struct site *site, const struct facts *facts);

/* Answers any request, bad ones included; counts it. A page of the moment is rendered from facts. */
struct response site_answer(struct site *site, const struct request *request, const struct facts *facts);

/* Whether the answer depends on the database: what a one-shot caller need not probe for when it does not. */
bool route_needs_snapshot(const struct request *request);

#endif
