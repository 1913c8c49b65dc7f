/* Judges the bytes of a FastCGI connection before libfcgi may read them: libfcgi blocks on half a request and
 * is unsafe on hostile records. Pure; main thread. The protocol: FastCGI Specification 1.0, sections 3, 5, 8.
 */
#ifndef SERVE_GATE_H
#define SERVE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest request that is taken: twice what nginx lets through as a request line (8 KiB by default). */
#define GATE_MAX_BYTES 16384

enum gate_verdict {
    GATE_MORE,   /* well-formed so far, not whole */
    GATE_WHOLE,  /* exactly one whole request and nothing after it */
    GATE_REJECT, /* not ours to answer: close the connection */
};

struct gate_result {
    bool has_body;   /* GATE_WHOLE: STDIN carried bytes */
    const char *why; /* GATE_REJECT: a literal for the log */
};

/* bytes: all that was received and not yet read, from the start of a request. */
enum gate_verdict gate_judge(const uint8_t *bytes, size_t len, struct gate_result *out);

#endif
