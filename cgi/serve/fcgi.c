/* Runs libfcgi on one request at a time. Main thread; owns nothing between two requests. */
#include "cgi/serve/fcgi.h"

#include "cgi/serve/feed.h"
#include "common/log.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

/* libfcgi's output buffer has 8192 bytes (fcgiapp.c, FCGX_Accept_r). A record's header and padding and the
 * records that end the response take up to 39 of them. libfcgi sends a response of up to this length in one
 * write. */
#define ONE_WRITE_MAX 8000

/* A longer response may not fit into a Unix socket while the peer does not read: with its own bookkeeping,
 * the kernel counts up to net.core.wmem_default, 208 KiB. */
#define USUAL_ROOM 131072

bool fcgi_init(struct error *err)
{
    static const int signals[] = {SIGPIPE, SIGUSR1, SIGTERM};
    struct sigaction before[sizeof signals / sizeof signals[0]];

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], NULL, &before[i]);
    int status = FCGX_Init();
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &before[i], NULL);
    if (status != 0)
        error_set(err, "FCGX_Init: %d", status);
    return status == 0;
}

/* Asks the kernel for room for a long response. It grants up to net.core.wmem_max, twice (socket(7)). A TCP
 * socket may have more room already. */
static void make_room(int fd, size_t len)
{
    int size = (int)len;
    int room = 0;
    socklen_t room_len = sizeof room;
    if (len > USUAL_ROOM && getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &room_len) == 0 && room / 2 < size)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* After a failed write libfcgi writes its whole buffer again (EmptyBuffProc), and the peer might read some
 * bytes twice. So no step follows a failed one. A long response is flushed before the records that end it are
 * added: if they did not fit, FCGX_FClose would write twice by itself. */
static bool put_response(FCGX_Request *r, const struct response *response)
{
    if (FCGX_PutStr(response->bytes, (int)response->len, r->out) < 0)
        return false;
    if (response->len > ONE_WRITE_MAX && FCGX_FFlush(r->out) != 0)
        return false;
    return FCGX_FClose(r->err) == 0 && FCGX_FClose(r->out) == 0;
}

static bool respond(FCGX_Request *r, bool too_long, struct health *health,
                    const struct process_facts *process, int64_t now_ns)
{
    const struct request request = {
        .method = FCGX_GetParam("REQUEST_METHOD", r->envp),
        .path_info = FCGX_GetParam("PATH_INFO", r->envp),
        .script_name = FCGX_GetParam("SCRIPT_NAME", r->envp),
        .audience = FCGX_GetParam("AUDIENCE", r->envp),
        .query = FCGX_GetParam("QUERY_STRING", r->envp),
        .too_long = too_long,
    };
    const struct response response = health_answer(health, &request, process, now_ns);
    make_room(r->ipcFd, response.len);
    return put_response(r, &response);
}

/* libfcgi has no call that adopts a descriptor; these two public fields do it. keepConnection is 1 because
 * FCGX_Accept_r first finishes the "previous" request and closes ipcFd otherwise. With a listen_sock of -1 it
 * fails with -EBADF instead of accepting another connection. */
static bool read_request(FCGX_Request *r, const struct buf *bytes)
{
    char ignored[16];

    FCGX_InitRequest(r, -1, 0);
    r->ipcFd = FEED_FD;
    r->keepConnection = 1;
    feed_begin(bytes->data, bytes->len);
    /* Reads up to the end of STDIN, which is the last record. An error in the input also shows that PARAMS
     * were cut short, which FCGX_Accept_r does not report. */
    bool ok = FCGX_Accept_r(r) == 0 && FCGX_GetStr(ignored, sizeof ignored, r->in) == 0 &&
              FCGX_GetError(r->in) == 0;
    return feed_end() == 0 && ok;
}

bool fcgi_serve(int fd, const struct gate_result *request, struct health *health,
                const struct process_facts *process, int64_t now_ns)
{
    FCGX_Request r;
    bool is_read = read_request(&r, &request->bytes);
    bool keep = false;

    if (is_read) {
        r.ipcFd = fd; /* from here on libfcgi only writes */
        keep = respond(&r, request->too_long, health, process, now_ns) && r.keepConnection != 0;
    } else {
        log_event(LOG_LEVEL_ERROR, "request lost", LOG_INT("bytes", (int64_t)request->bytes.len));
    }
    FCGX_Free(&r, 0);
    return keep;
}
