/* libfcgi, one request at a time. Main thread; owns nothing between two requests. */
#include "cgi/serve/fcgi.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>

/* libfcgi's output buffer has 8192 bytes (fcgiapp.c, FCGX_Accept_r); a record's header and padding and the
 * records that end the answer take up to 39 of them. An answer up to here is one write. */
#define ONE_WRITE_MAX 8000

bool fcgi_init(struct error *err)
{
    static const int signals[] = {SIGPIPE, SIGUSR1, SIGTERM};
    struct sigaction before[sizeof signals / sizeof signals[0]];

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], NULL, &before[i]);
    /* Should libfcgi ever close a connection, it must not wait for the peer (os_unix.c, OS_LibInit). */
    setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", "0", 1);
    setenv("LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT", "0", 1);
    int status = FCGX_Init();
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &before[i], NULL);
    if (status != 0)
        error_set(err, "FCGX_Init: %d", status);
    return status == 0;
}

/* Reads what is left of the request, so that nothing of it is taken for the next one. */
static void drain_input(FCGX_Request *r)
{
    char ignored[512];
    while (FCGX_GetStr(ignored, sizeof ignored, r->in) > 0) {
    }
}

/* After a failed write libfcgi would write its whole buffer anew (EmptyBuffProc), so that the peer might read
 * some bytes twice: hence no step after one that failed. And a long answer is flushed before the records that
 * end it are added: if those did not fit behind it, FCGX_FClose would write twice by itself. */
static bool put_response(FCGX_Request *r, const struct response *response)
{
    if (FCGX_PutStr(response->bytes, (int)response->len, r->out) < 0)
        return false;
    if (response->len > ONE_WRITE_MAX && FCGX_FFlush(r->out) != 0)
        return false;
    return FCGX_FClose(r->err) == 0 && FCGX_FClose(r->out) == 0;
}

static bool answer_request(FCGX_Request *r, struct health *health, const struct process_facts *process,
                           int64_t now_ns)
{
    const struct request request = {
        .method = FCGX_GetParam("REQUEST_METHOD", r->envp),
        .path_info = FCGX_GetParam("PATH_INFO", r->envp),
        .script_name = FCGX_GetParam("SCRIPT_NAME", r->envp),
        .query = FCGX_GetParam("QUERY_STRING", r->envp),
    };
    const struct response response = health_answer(health, &request, process, now_ns);
    return put_response(r, &response);
}

bool fcgi_serve(int *fd, struct health *health, const struct process_facts *process, int64_t now_ns)
{
    FCGX_Request r;

    /* libfcgi has no call that adopts an accepted connection; these two public fields do it. keepConnection
     * is 1 because FCGX_Accept_r first finishes the "previous" request, which closes ipcFd otherwise.
     * listen_sock -1 makes it fail with -EBADF instead of accepting another one. */
    FCGX_InitRequest(&r, -1, 0);
    r.ipcFd = *fd;
    r.keepConnection = 1;
    /* Should it close the connection, then without reading on to the peer's end (OS_Close). */
    (void)FCGX_Detach(&r);
    if (FCGX_Accept_r(&r) != 0) {
        /* The gate keeps this from happening: all bytes are here, and Linux keeps them even when the peer
         * resets the connection. But if it does, libfcgi has closed the descriptor (FCGX_Free) and the next
         * open(2) of any thread may get its number, so the caller must learn that it is gone. */
        *fd = r.ipcFd;
        return false;
    }
    bool keep = r.keepConnection != 0;
    drain_input(&r);
    /* An error in the input also tells of PARAMS that were cut short, which FCGX_Accept_r lets pass. */
    bool ok = FCGX_GetError(r.in) == 0 && answer_request(&r, health, process, now_ns);
    FCGX_Free(&r, 0);
    return ok && keep;
}
