/* Hands one whole request to libfcgi, which sends the response to the peer. The only file that includes
 * fcgiapp.h. Main thread. */
#ifndef SERVE_FCGI_H
#define SERVE_FCGI_H

#include "cgi/answer/health.h"
#include "cgi/serve/gate.h"
#include "common/error.h"

#include <stdbool.h>

/* Call it once, with SIGTERM, SIGUSR1 and SIGPIPE blocked or ignored, because FCGX_Init installs handlers. */
__attribute__((warn_unused_result)) bool fcgi_init(struct error *err);

/* Answers the request (GATE_WHOLE) on fd, which is non-blocking. Never blocks and never closes fd. True:
 * the peer keeps the connection open for another request. False: close it. Either the peer asked for that, or
 * the response did not fit into the socket's buffer because the peer does not read. */
__attribute__((warn_unused_result)) bool fcgi_serve(int fd, const struct gate_result *request,
                                                    struct health *health,
                                                    const struct process_facts *process, int64_t now_ns);

#endif
