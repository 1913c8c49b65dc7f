/* Maps method and path to a response, by one table. It knows nothing of FastCGI, so CGI gets the same
 * responses. Main thread. */
#ifndef ANSWER_ROUTE_H
#define ANSWER_ROUTE_H

#include "cgi/answer/document.h"

#include <stdbool.h>
#include <stddef.h>

/* The parts of a request that decide the response. NULL and "" mean the same. Borrowed. */
struct request {
    const char *method;
    const char *path_info;
    const char *script_name;
    const char *query;
    const char *audience; /* "operator": the web server names the client an operator */
    bool too_long;        /* the request is longer than this program reads, and the other fields are NULL */
};

/* A CGI response (RFC 3875, 6): headers beginning with Status, an empty line, the body. Valid until the next
 * call on the same site. */
struct response {
    const char *bytes;
    size_t len;
    int status;
};

/* The pages, and the counters of requests. */
struct site;

struct site *site_new(void);
void site_free(struct site *site);

/* Renders the pages. Call it after each change of the facts that they show. */
void site_render(struct site *site, const struct facts *facts);

/* Answers any request, even a bad one, and counts it. Uses facts for pages that are rendered at each
 * request. */
struct response site_answer(struct site *site, const struct request *request, const struct facts *facts);

/* Whether the response depends on the database. If not, a one-shot caller need not probe it. */
bool route_needs_snapshot(const struct request *request, const struct config *config);

#endif
