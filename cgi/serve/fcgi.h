/* Hands one connection with one whole request to libfcgi. The only file that includes fcgiapp.h. Main thread.
 */
#ifndef SERVE_FCGI_H
#define SERVE_FCGI_H

#include "cgi/answer/health.h"
#include "common/error.h"

#include <stdbool.h>

/* Once, before any connection and before any other thread (it changes the environment), with SIGTERM, SIGUSR1
 * and SIGPIPE blocked or ignored: FCGX_Init installs handlers. */
__attribute__((warn_unused_result)) bool fcgi_init(struct error *err);

/* Answers the request that waits on *fd (non-blocking; the gate has said GATE_WHOLE). Never blocks. True: the
 * peer keeps the connection open for another request. False: close it (the peer asked for that, or the answer
 * did not fit into the socket's buffer because the peer does not read). *fd is -1 then if libfcgi has closed
 * it already, which it does with a request that it cannot parse; the gate lets none through. */
__attribute__((warn_unused_result)) bool fcgi_serve(int *fd, struct health *health,
                                                    const struct process_facts *process, int64_t now_ns);

#endif
