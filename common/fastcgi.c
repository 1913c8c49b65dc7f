/* Sends one request on a non-blocking socket and reads the response. Each step returns 0 or an errno, and
 * one function turns that into the outcome. Any thread; no state. */
#include "common/fastcgi.h"

#include "common/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MANAGEMENT_ID = 0, REQUEST_ID = 1 };

/* How many records that have come by the deadline are read after it. A peer that goes on sending must not
 * keep this process for ever. */
#define LATE_RECORDS_MAX 64

#define RETRY_MS 10 /* no event reports room in a full queue */

/* Section 3.3. */
static void append_record(struct buf *b, uint8_t type, const void *content, size_t len)
{
    const uint8_t header[FASTCGI_HEADER_LEN] = {FASTCGI_VERSION_1,   type,        0, REQUEST_ID,
                                                (uint8_t)(len >> 8), (uint8_t)len};
    buf_append(b, header, sizeof header);
    buf_append(b, content, len);
}

/* Section 3.4: one byte, or four with the highest bit set. */
static void append_length(struct buf *b, size_t len)
{
    const uint8_t four[4] = {(uint8_t)(len >> 24 | 0x80), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                             (uint8_t)len};
    buf_append(b, len < 0x80 ? four + 3 : four, len < 0x80 ? 1 : 4);
}

static void append_pair(struct buf *b, const char *name, const char *value, size_t value_len)
{
    append_length(b, strlen(name));
    append_length(b, value_len);
    buf_append_str(b, name);
    buf_append(b, value, value_len);
}

static void append_request(struct buf *b, const char *target, const struct fastcgi_param *extra)
{
    static const uint8_t begin[8] = {0, FASTCGI_RESPONDER}; /* section 5.1; no FCGI_KEEP_CONN */
    struct buf params = {0};
    size_t path_len = strcspn(target, "?");
    const char *query = target + path_len + (target[path_len] == '?' ? 1 : 0);
    size_t query_len = strlen(query);
    const struct {
        const char *name, *value;
        size_t len;
    } pairs[] = {
        {"REQUEST_METHOD", "GET", 3},
        {"SCRIPT_NAME", target, path_len},
        {"SCRIPT_FILENAME", target, path_len},
        {"REQUEST_URI", target, query_len > 0 ? path_len + 1 + query_len : path_len},
        {"QUERY_STRING", query, query_len},
        {"SERVER_PROTOCOL", "HTTP/1.1", 8},
        {"GATEWAY_INTERFACE", "CGI/1.1", 7},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        append_pair(&params, pairs[i].name, pairs[i].value, pairs[i].len);
    if (extra != NULL)
        append_pair(&params, extra->name, extra->value, strlen(extra->value));
    append_record(b, FASTCGI_BEGIN_REQUEST, begin, sizeof begin);
    append_record(b, FASTCGI_PARAMS, params.data, params.len);
    append_record(b, FASTCGI_PARAMS, "", 0);
    append_record(b, FASTCGI_STDIN, "", 0);
    buf_free(&params);
}

/* A TCP connection may still be under way afterwards: send(2) reports whether it failed. EBUSY: the queue of
 * a Unix socket was full until the deadline. EAGAIN is another failure: TCP has no local port left. */
static int connect_by(int fd, const struct sockaddr *address, socklen_t len, int64_t deadline_ns)
{
    while (connect(fd, address, len) != 0 && errno != EINPROGRESS) {
        if (errno != EAGAIN || address->sa_family != AF_UNIX)
            return errno;
        if (clock_now_ns() + RETRY_MS * NS_PER_MS > deadline_ns)
            return EBUSY;
        poll(NULL, 0, RETRY_MS);
    }
    return 0;
}

/* Sends (POLLOUT) or receives (POLLIN) all len bytes. After the deadline it takes what is there already: this
 * process may not have run in time, and then the silence would be its own. */
static int transfer(int fd, short events, void *bytes, size_t len, int64_t deadline_ns)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    for (size_t done = 0; done < len;) {
        int64_t now_ns = clock_now_ns();
        if (poll(&wanted, 1, clock_poll_timeout_ms(deadline_ns, now_ns)) < 0 && errno != EINTR)
            return errno;
        char *rest = (char *)bytes + done;
        ssize_t n = events == POLLIN ? recvfrom(fd, rest, len - done, 0, NULL, NULL)
                                     : send(fd, rest, len - done, MSG_NOSIGNAL);
        if (n == 0)
            return ECONNRESET;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return errno;
        if (n < 0 && now_ns >= deadline_ns)
            return ETIMEDOUT;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* The same failure once a record of the response has come. */
static int after_begin(int failure)
{
    return failure == ETIMEDOUT ? ETIME : failure == ECONNRESET ? ECONNABORTED : failure;
}

/* Appends the content of STDOUT until END_REQUEST. Skips STDERR and management records (section 4).
 * Ignores the protocolStatus (section 5.5), because a request that was turned down has no headers. */
static int read_output(int fd, size_t max_bytes, int64_t deadline_ns, struct buf *output)
{
    int late_records = 0;
    for (bool has_begun = false;; has_begun = true) {
        uint8_t header[FASTCGI_HEADER_LEN] = {0}, content[UINT16_MAX + UINT8_MAX];
        int failure = transfer(fd, POLLIN, header, sizeof header, deadline_ns);
        if (failure != 0)
            return has_begun ? after_begin(failure) : failure;
        late_records += clock_now_ns() >= deadline_ns;
        if (late_records > LATE_RECORDS_MAX)
            return after_begin(ETIMEDOUT);
        int id = header[2] << 8 | header[3];
        int type = id == MANAGEMENT_ID ? FASTCGI_STDERR : header[1];
        size_t len = (size_t)header[4] << 8 | header[5];
        if (header[0] != FASTCGI_VERSION_1 || (id != MANAGEMENT_ID && id != REQUEST_ID) ||
            (type != FASTCGI_STDOUT && type != FASTCGI_STDERR && type != FASTCGI_END_REQUEST))
            return EPROTO;
        if (type == FASTCGI_STDOUT && len > max_bytes - output->len)
            return EMSGSIZE;
        failure = transfer(fd, POLLIN, content, len + header[6], deadline_ns);
        if (failure != 0 || type == FASTCGI_END_REQUEST)
            return after_begin(failure);
        if (type == FASTCGI_STDOUT)
            buf_append(output, content, len);
    }
}

/* Removes the headers (RFC 3875, 6.2 and 6.3), and returns the status. */
static int take_headers(struct buf *output)
{
    long status = 200;
    buf_append(output, "", 0); /* data is NULL when no content has come */
    char *line = output->data, *end = line + output->len, *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        if (newline == line || (newline == line + 1 && *line == '\r')) {
            output->len = (size_t)(end - newline - 1);
            memmove(output->data, newline + 1, output->len + 1);
            return status >= 100 && status <= 999 ? (int)status : 503;
        }
        if (strncasecmp(line, "Status:", strlen("Status:")) == 0)
            status = strtol(line + strlen("Status:"), NULL, 10);
        line = newline + 1;
    }
    return 503;
}

static enum fastcgi_outcome explain(int failure, struct error *err)
{
    enum fastcgi_outcome outcome = FASTCGI_LOCAL;
    const char *why = strerror(failure);
    switch (failure) {
    case 0: return FASTCGI_ANSWER;
    case ECONNREFUSED:
    case ENOENT: outcome = FASTCGI_REFUSED; break;
    case EACCES:
    case EPERM: outcome = FASTCGI_DENIED; break;
    case ETIMEDOUT: outcome = FASTCGI_SILENT, why = "there is no answer"; break;
    case EBUSY: outcome = FASTCGI_SILENT, why = "the queue of connections is still full"; break;
    case ETIME: outcome = FASTCGI_BEGUN, why = "the answer has not ended"; break;
    case EPIPE:
    case ECONNRESET: outcome = FASTCGI_CLOSED, why = "the connection was closed before an answer"; break;
    case ECONNABORTED: outcome = FASTCGI_CUT, why = "the connection was closed during the answer"; break;
    case EPROTO: outcome = FASTCGI_MALFORMED, why = "the answer is not FastCGI"; break;
    case EMSGSIZE: outcome = FASTCGI_MALFORMED, why = "the answer is too long"; break;
    }
    error_set(err, "%s", why);
    return outcome;
}

static bool is_too_long(const struct fastcgi_request *request)
{
    const struct fastcgi_param *extra = request->extra;
    return strlen(request->target) > FASTCGI_MAX_TARGET ||
           (extra != NULL && strlen(extra->name) + strlen(extra->value) > FASTCGI_MAX_EXTRA);
}

enum fastcgi_outcome fastcgi_ask(const struct sockaddr *address, socklen_t len,
                                 const struct fastcgi_request *request, struct fastcgi_answer *out,
                                 struct error *err)
{
    *out = (struct fastcgi_answer){0};
    if (is_too_long(request))
        return explain(ENAMETOOLONG, err);
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return explain(errno, err);
    struct buf bytes = {0};
    append_request(&bytes, request->target, request->extra);
    int failure = connect_by(fd, address, len, request->deadline_ns);
    if (failure == 0)
        failure = transfer(fd, POLLOUT, bytes.data, bytes.len, request->deadline_ns);
    if (failure == 0)
        failure = read_output(fd, request->max_bytes, request->deadline_ns, &out->body);
    if (failure == 0)
        out->status = take_headers(&out->body);
    else
        buf_free(&out->body);
    buf_free(&bytes);
    close(fd);
    return explain(failure, err);
}
