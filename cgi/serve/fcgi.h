/* Hands one whole request to libfcgi, and its answer to the peer. The only file that includes fcgiapp.h. Main
 * thread.
 */
#ifndef SERVE_FCGI_H
#define SERVE_FCGI_H

#include "cgi/answer/health.h"
#include "cgi/serve/gate.h"
#include "common/error.h"

#include <stdbool.h>

/* The feed: two connected sockets, through which libfcgi reads what the gate wrote. */
struct fcgi {
    int read_fd; /* -1 when closed */
    int write_fd;
};

/* Once, before any connection and before any other thread (it changes the environment), with SIGTERM, SIGUSR1
 * and SIGPIPE blocked or ignored: FCGX_Init installs handlers. */
__attribute__((warn_unused_result)) bool fcgi_init(struct error *err);

/* False: err says what the system refused. */
__attribute__((warn_unused_result)) bool fcgi_open(struct fcgi *out, struct error *err);
void fcgi_close(struct fcgi *fcgi);

/* Answers request (GATE_WHOLE) on fd, which is non-blocking. Never blocks and never closes fd. True: the peer
 * keeps the connection open for another request. False: close it (the peer asked for that, or the answer did
 * not fit into the socket's buffer because the peer does not read). */
__attribute__((warn_unused_result)) bool fcgi_serve(struct fcgi *fcgi, int fd,
                                                    const struct gate_result *request, struct health *health,
                                                    const struct process_facts *process, int64_t now_ns);

#endif
