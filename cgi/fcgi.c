/* libfcgi, one connection at a time, never in charge of a descriptor's life. Main thread. */
#include "cgi/fcgi.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

bool fcgi_init(struct error *err)
{
    static const int signals[] = {SIGPIPE, SIGUSR1, SIGTERM};
    struct sigaction before[sizeof signals / sizeof signals[0]];

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], NULL, &before[i]);
    }
    /* Should libfcgi ever close a connection, it must not wait for the peer (os_unix.c, OS_LibInit). */
    setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", "0", 1);
    setenv("LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT", "0", 1);
    int status = FCGX_Init();
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], &before[i], NULL);
    }
    if (status != 0) {
        error_set(err, "FCGX_Init: %d", status);
    }
    return status == 0;
}

/* Reads what is left of the request, so that nothing of it is taken for the next one. */
static void drain_input(FCGX_Request *r)
{
    char ignored[512];
    while (FCGX_GetStr(ignored, sizeof ignored, r->in) > 0) {
    }
}

static void answer(FCGX_Request *r, struct site *site)
{
    const struct request request = {
        .method = FCGX_GetParam("REQUEST_METHOD", r->envp),
        .path_info = FCGX_GetParam("PATH_INFO", r->envp),
        .script_name = FCGX_GetParam("SCRIPT_NAME", r->envp),
        .query = FCGX_GetParam("QUERY_STRING", r->envp),
    };
    struct response response = route_answer(site, &request);
    /* A failure is sticky in the stream: FCGX_FClose reports it. */
    (void)FCGX_PutStr(response.bytes, (int)response.len, r->out);
}

bool fcgi_serve(int *fd, struct site *site)
{
    FCGX_Request r;

    /* libfcgi has no call that adopts an accepted connection; these two public fields do it. keepConnection
     * is 1 because FCGX_Accept_r first finishes the "previous" request, which closes ipcFd otherwise.
     * listen_sock -1 makes it fail with -EBADF instead of accepting another one. */
    FCGX_InitRequest(&r, -1, 0);
    r.ipcFd = *fd;
    r.keepConnection = 1;
    if (FCGX_Accept_r(&r) != 0) {
        *fd = -1; /* on a request that it cannot parse libfcgi closes the connection (FCGX_Free) */
        return false;
    }
    bool keep = r.keepConnection != 0;
    drain_input(&r);
    bool ok = FCGX_GetError(r.in) == 0;
    answer(&r, site);
    ok &= FCGX_FClose(r.err) == 0;
    ok &= FCGX_FClose(r.out) == 0;
    FCGX_Free(&r, 0);
    return ok && keep;
}
