/* Turns facts into JSON documents. The only file that includes json-c. Pure; main thread. */
#ifndef ANSWER_DOCUMENT_H
#define ANSWER_DOCUMENT_H

#include "cgi/answer/verdict.h"
#include "cgi/config.h"
#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/* How many requests of one route got one status code. */
struct request_count {
    const char *route;
    int code;
    uint64_t total;
};

/* Everything that a response is made of. Borrowed for the call. */
struct facts {
    const struct config *config;
    const struct snapshot *snapshot;
    const struct verdict *verdict;
    const struct selection *selection; /* what /api/health shows; NULL: everything */
    const struct transitions *transitions;
    const struct process_facts *process;
    int64_t started_ns;
    int64_t now_ns;
    const struct request_count *requests; /* the site fills in these two */
    size_t request_count;
};

/* Each appends one JSON document and a newline to out. */
void document_health(const struct facts *facts, struct buf *out);
void document_status(const struct facts *facts, struct buf *out);
void document_live(const struct facts *facts, struct buf *out);

/* The same for strangers: {"status":STATUS} */
void document_bare_health(const struct facts *facts, struct buf *out);
void document_bare_live(const struct facts *facts, struct buf *out);

/* RFC 9457 problem details: {"type":"about:blank","title":TITLE,"status":STATUS,"detail":DETAIL} */
void document_problem(int status, const char *title, const char *detail, struct buf *out);

#endif
