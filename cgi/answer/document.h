/* Snapshot and process -> JSON documents. The only file that includes json-c. Pure; main thread. */
#ifndef ANSWER_DOCUMENT_H
#define ANSWER_DOCUMENT_H

#include "cgi/answer/verdict.h"
#include "cgi/config.h"
#include "cgi/serve/process.h"
#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/* How many requests of one route got one status code. */
struct request_count {
    const char *route;
    int code;
    uint64_t total;
};

/* All that a document is made of. Borrowed for the call. */
struct render_input {
    const struct snapshot *snapshot;
    const struct verdict *verdict;
    const char *version;
    int64_t now_ns;
    int64_t started_ns;
    /* /api/status only: */
    const struct config *config;
    const struct transitions *transitions;
    const struct process_usage *usage;
    int64_t connections;
    const struct request_count *requests;
    size_t request_count;
    const char *checks_error; /* why the last reload was refused; "" when it was not */
};

/* Each appends one JSON document and a newline to out. */
void render_health(const struct render_input *in, struct buf *out);
void render_status(const struct render_input *in, struct buf *out);
void render_live(const struct render_input *in, struct buf *out);

/* RFC 9457 problem details: {"type":"about:blank","title":TITLE,"status":STATUS,"detail":DETAIL} */
void render_problem(int status, const char *title, const char *detail, struct buf *out);

#endif
