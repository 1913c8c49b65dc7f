/* libfcgi, one request at a time. Main thread; owns the feed, which is empty between two requests. */
#include "cgi/serve/fcgi.h"

#include "common/log.h"

#include <errno.h>
#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* Not a pipe: pipes are limited for each user of the whole machine (pipe(7), pipe-user-pages-soft), and who
 * is past that gets small ones. */
bool fcgi_open(struct fcgi *out, struct error *err)
{
    int fds[2];
    *out = (struct fcgi){.read_fd = -1, .write_fd = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        error_set(err, "socketpair: %s", strerror(errno));
        return false;
    }
    *out = (struct fcgi){.read_fd = fds[0], .write_fd = fds[1]};
    /* Room for the longest request, also where net.core.wmem_default was lowered. */
    (void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &(int){2 * GATE_MAX_REQUEST}, sizeof(int));
    return true;
}

void fcgi_close(struct fcgi *fcgi)
{
    if (fcgi->read_fd >= 0)
        close(fcgi->read_fd);
    if (fcgi->write_fd >= 0)
        close(fcgi->write_fd);
    *fcgi = (struct fcgi){.read_fd = -1, .write_fd = -1};
}

/* Whatever went wrong, nothing of this request may be taken for the beginning of the next one. */
static void renew_feed(struct fcgi *fcgi)
{
    struct error err = {0};
    fcgi_close(fcgi);
    if (!fcgi_open(fcgi, &err))
        log_event(LOG_LEVEL_ERROR, "feed of libfcgi not opened", LOG_STR("error", err.text));
}

/* After a failed write libfcgi would write its whole buffer again (EmptyBuffProc), so that the peer might
 * read some bytes twice: hence no step after one that failed. And a long answer is flushed before the records
 * that end it are added: if those did not fit after it, FCGX_FClose would write twice by itself. */
static bool put_response(FCGX_Request *r, const struct response *response)
{
    if (FCGX_PutStr(response->bytes, (int)response->len, r->out) < 0)
        return false;
    if (response->len > ONE_WRITE_MAX && FCGX_FFlush(r->out) != 0)
        return false;
    return FCGX_FClose(r->err) == 0 && FCGX_FClose(r->out) == 0;
}

static bool answer_request(FCGX_Request *r, bool too_long, struct health *health,
                           const struct process_facts *process, int64_t now_ns)
{
    const struct request request = {
        .method = FCGX_GetParam("REQUEST_METHOD", r->envp),
        .path_info = FCGX_GetParam("PATH_INFO", r->envp),
        .script_name = FCGX_GetParam("SCRIPT_NAME", r->envp),
        .query = FCGX_GetParam("QUERY_STRING", r->envp),
        .too_long = too_long,
    };
    const struct response response = health_answer(health, &request, process, now_ns);
    return put_response(r, &response);
}

/* Makes libfcgi read what is in the feed. libfcgi has no call that adopts a descriptor; these two public
 * fields do it. keepConnection is 1 because FCGX_Accept_r first finishes the "previous" request, which closes
 * ipcFd otherwise. listen_sock -1 makes it fail with -EBADF instead of accepting another one. */
static bool read_request(FCGX_Request *r, struct fcgi *fcgi)
{
    char ignored[16];

    FCGX_InitRequest(r, -1, 0);
    r->ipcFd = fcgi->read_fd;
    r->keepConnection = 1;
    /* Should it close the descriptor, then without reading on to its end (OS_Close). */
    (void)FCGX_Detach(r);
    if (FCGX_Accept_r(r) != 0) {
        fcgi->read_fd = r->ipcFd; /* it has closed it (FCGX_Free) and says so */
        return false;
    }
    /* Up to the end of STDIN, which is the last record. An error in the input also tells of PARAMS that were
     * cut short, which FCGX_Accept_r lets pass. */
    return FCGX_GetStr(ignored, sizeof ignored, r->in) == 0 && FCGX_GetError(r->in) == 0;
}

bool fcgi_serve(struct fcgi *fcgi, int fd, const struct gate_result *request, struct health *health,
                const struct process_facts *process, int64_t now_ns)
{
    FCGX_Request r = {.ipcFd = -1};
    bool ok = false;

    if (fcgi->read_fd < 0)
        renew_feed(fcgi);
    bool is_read =
        write(fcgi->write_fd, request->bytes.data, request->bytes.len) == (ssize_t)request->bytes.len &&
        read_request(&r, fcgi);
    if (is_read) {
        r.ipcFd = fd; /* from here on it only writes */
        ok = answer_request(&r, request->too_long, health, process, now_ns) && r.keepConnection != 0;
    } else {
        log_event(LOG_LEVEL_ERROR, "request not read by libfcgi",
                  LOG_INT("bytes", (int64_t)request->bytes.len));
        renew_feed(fcgi);
    }
    FCGX_Free(&r, 0);
    return ok;
}
