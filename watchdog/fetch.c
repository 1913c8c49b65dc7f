/* Runs the requests with libcurl's multi interface, keeps their order and their deadlines, and notices when
 * the machine keeps this process from running. Main thread; owns the libcurl handles during fetch_run. */
#include "watchdog/fetch.h"

#include "common/clock.h"
#include "common/holder.h"
#include "common/text.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* libcurl keeps the deadlines. A request that overruns its deadline by this much is ended here. */
#define OVERRUN_NS (NS_PER_S / 2)

/* The longest single wait. One that ends late shows that the machine keeps this process from running. */
#define IDLE_MS 100

struct request {
    size_t route;
    CURL *easy; /* NULL: the request waits for its turn */
    bool is_done;
    int64_t not_before_ns; /* the earliest time of its next try */
    int64_t started_ns;
    int64_t late_ns; /* fetch_result.late_ms */
    size_t header_bytes;
    bool headers_cut;
    bool got_bytes;     /* at least one byte of a response came */
    bool has_resolved;  /* libcurl wanted a socket, so the name has an address */
    bool has_no_socket; /* socket(2) failed */
    struct fetch_result result;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
};

struct run {
    const struct watch *watch;
    CURLM *multi;
    struct request *requests; /* liveness routes first, then the order of the watch file */
    size_t count;
    size_t active;
    fetch_done_fn *done;
    void *context;
    bool enough;
    int64_t cpu_ns; /* the CPU time of this process at the last add_late */
};

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
    struct request *r = context;
    size_t len = size * count;
    size_t room = FETCH_MAX_BYTES - r->result.body.len;
    r->got_bytes = true;
    buf_append(&r->result.body, bytes, len < room ? len : room);
    r->result.body_cut = len > room;
    return r->result.body_cut ? 0 : len; /* less than len ends the transfer */
}

/* "X-Health-Source: nginx" in any case. */
static bool says_nginx(const char *line, size_t len)
{
    static const char name[] = "x-health-source:";
    static const char value[] = "nginx";
    size_t at = sizeof name - 1;
    if (len < at || strncasecmp(line, name, at) != 0)
        return false;
    while (at < len && (line[at] == ' ' || line[at] == '\t'))
        at++;
    while (len > at && isspace((unsigned char)line[len - 1]))
        len--;
    return len - at == sizeof value - 1 && strncasecmp(line + at, value, sizeof value - 1) == 0;
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    struct request *r = context;
    size_t len = size * count;
    r->got_bytes = true;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
        r->result.from_nginx = false; /* the header was that of a redirect */
    if (says_nginx(line, len))
        r->result.from_nginx = true;
    r->header_bytes += len;
    r->headers_cut = r->header_bytes > FETCH_MAX_BYTES;
    return r->headers_cut ? 0 : len;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct request *r = context;
    (void)purpose;
    r->has_resolved = true;
    curl_socket_t fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    r->has_no_socket = fd < 0;
    return fd;
}

/* curl_easy_setopt is variadic, so each value must have the exact type. */
static bool set_options(const struct watch *watch, const struct watch_route *route, struct request *r,
                        const char *url)
{
    CURL *e = r->easy;
    bool ok = curl_easy_setopt(e, CURLOPT_URL, url) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK; /* ignores http_proxy */
    ok = ok && curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK; /* do not wait for a hung resolver */
    ok = ok && curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)watch->connect_timeout_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)route->timeout_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, route->follow ? 1L : 0L) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)FETCH_MAX_REDIRECTS) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_USERAGENT, watch->user_agent) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_WRITEDATA, r) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_HEADERDATA, r) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, r) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->error) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_PRIVATE, r) == CURLE_OK;
    if (watch->unix_path != NULL)
        ok = ok && curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, watch->unix_path) == CURLE_OK;
    if (watch->ca_file != NULL)
        ok = ok && curl_easy_setopt(e, CURLOPT_CAINFO, watch->ca_file) == CURLE_OK;
    if (r->headers != NULL)
        ok = ok && curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->headers) == CURLE_OK;
    return ok;
}

static void release(struct run *run, struct request *r)
{
    if (r->easy != NULL) {
        (void)curl_multi_remove_handle(run->multi, r->easy);
        curl_easy_cleanup(r->easy);
        run->active--;
    }
    r->easy = NULL;
    curl_slist_free_all(r->headers);
    r->headers = NULL;
    buf_free(&r->result.body);
}

/* Returns false when libcurl has no handle or refuses an option. */
static bool start_transfer(struct run *run, struct request *r, int64_t now_ns)
{
    const struct watch_route *route = &run->watch->routes[r->route];
    struct buf text = {0};
    r->easy = curl_easy_init();
    if (r->easy == NULL)
        return false;
    run->active++;
    r->started_ns = now_ns;
    r->header_bytes = 0;
    r->late_ns = 0;
    r->headers_cut = r->got_bytes = r->has_resolved = r->has_no_socket = false;
    r->result = (struct fetch_result){.kind = FETCH_LOCAL};
    r->error[0] = '\0';
    if (run->watch->host != NULL) {
        buf_appendf(&text, "Host: %s", run->watch->host);
        r->headers = curl_slist_append(NULL, text.data);
        buf_reset(&text);
    }
    buf_appendf(&text, "%s%s", run->watch->base_url, route->path);
    bool ok = (run->watch->host == NULL || r->headers != NULL) &&
              set_options(run->watch, route, r, text.data) &&
              curl_multi_add_handle(run->multi, r->easy) == CURLM_OK;
    buf_free(&text);
    return ok;
}

/* Whether the other side or this machine prevented the connection. connect(2) fails with EAGAIN at once when
 * the queue of a Unix socket is full; libcurl takes that for a connection in progress, and later reports a
 * failure without an error number. */
static enum fetch_kind kind_of_connect_error(long os_errno, bool is_unix)
{
    switch (os_errno) {
    case 0: return is_unix ? FETCH_FULL : FETCH_LOCAL;
    case ECONNREFUSED:
    case ENOENT: return FETCH_REFUSED;
    case ECONNRESET: return FETCH_RESET;
    case ETIMEDOUT: return FETCH_TIMEOUT;
    default: return FETCH_LOCAL;
    }
}

static bool is_over_tls(const struct request *r)
{
    const char *scheme = NULL;
    return r->easy != NULL && curl_easy_getinfo(r->easy, CURLINFO_SCHEME, &scheme) == CURLE_OK &&
           scheme != NULL && strcasecmp(scheme, "https") == 0;
}

static enum fetch_kind kind_of(const struct request *r, CURLcode code, long os_errno, bool is_unix)
{
    bool is_tls = is_over_tls(r);
    bool has_status = r->result.code != 0;
    switch (code) {
    case CURLE_OK: return FETCH_RESPONSE;
    case CURLE_OPERATION_TIMEDOUT: return r->has_resolved ? FETCH_TIMEOUT : FETCH_UNRESOLVED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return FETCH_UNRESOLVED;
    case CURLE_COULDNT_CONNECT: return kind_of_connect_error(os_errno, is_unix && !r->has_no_socket);
    case CURLE_TOO_MANY_REDIRECTS: return FETCH_REDIRECTS;
    case CURLE_WRITE_ERROR: return r->result.body_cut && !r->headers_cut ? FETCH_RESPONSE : FETCH_MALFORMED;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        /* In TLS 1.3 (RFC 8446) a server can refuse a client after the client has finished the handshake. */
        if (is_tls && !has_status && !r->got_bytes)
            return FETCH_TLS;
        return has_status || r->got_bytes ? FETCH_MALFORMED : FETCH_RESET;
    case CURLE_GOT_NOTHING: return has_status || r->got_bytes ? FETCH_MALFORMED : FETCH_RESET;
    case CURLE_PARTIAL_FILE:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* also a server that does not speak HTTP/1 */
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_URL_MALFORMAT: /* of a redirect: base_url and path are checked already */
    case CURLE_HTTP2: return FETCH_MALFORMED;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_SHUTDOWN_FAILED: return FETCH_TLS;
    default: return r->got_bytes ? FETCH_MALFORMED : FETCH_LOCAL;
    }
}

static void describe(struct request *r, CURLcode code, long os_errno)
{
    if (r->headers_cut)
        snprintf(r->result.detail, sizeof r->result.detail, "the headers exceed %d bytes", FETCH_MAX_BYTES);
    else if (r->result.kind == FETCH_RESPONSE)
        r->result.detail[0] = '\0';
    else if (r->result.kind == FETCH_FULL)
        snprintf(r->result.detail, sizeof r->result.detail, "the socket's queue is full");
    else if (code == CURLE_COULDNT_CONNECT && os_errno != 0)
        snprintf(r->result.detail, sizeof r->result.detail, "%s", strerror((int)os_errno));
    else
        snprintf(r->result.detail, sizeof r->result.detail, "%.120s",
                 r->error[0] != '\0' ? r->error : curl_easy_strerror(code));
    text_clean(r->result.detail);
}

/* CONNECT_TIME includes the TLS handshake, so the local port tells whether TCP is connected. */
static bool is_unconnected(const struct request *r)
{
    long port = 0;
    curl_off_t connected_us = 0;
    return r->easy != NULL && curl_easy_getinfo(r->easy, CURLINFO_LOCAL_PORT, &port) == CURLE_OK &&
           curl_easy_getinfo(r->easy, CURLINFO_CONNECT_TIME_T, &connected_us) == CURLE_OK && port == 0 &&
           connected_us == 0;
}

static void finish_transfer(struct run *run, struct request *r, CURLcode code)
{
    long status = 0;
    long os_errno = 0;
    long redirects = 0;
    int64_t now_ns = clock_now_ns();
    if (r->easy != NULL) {
        (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(r->easy, CURLINFO_OS_ERRNO, &os_errno);
        (void)curl_easy_getinfo(r->easy, CURLINFO_REDIRECT_COUNT, &redirects);
    }
    r->result.code = (int)status;
    r->result.redirects = (int)redirects;
    r->result.time_us = (now_ns - r->started_ns) / NS_PER_US;
    r->result.late_ms = r->late_ns / NS_PER_MS;
    r->result.kind = kind_of(r, code, os_errno, run->watch->unix_path != NULL);
    r->result.unconnected = r->result.kind == FETCH_TIMEOUT && is_unconnected(r);
    describe(r, code, os_errno);
    if (r->result.kind == FETCH_REFUSED && run->watch->unix_path != NULL &&
        holder_is_hidden(run->watch->unix_path)) {
        r->result.kind = FETCH_LOCAL;
        snprintf(r->result.detail, sizeof r->result.detail,
                 "%.64s exists, but the sandbox hides it (PrivateTmp=, ProtectHome=)", run->watch->unix_path);
    }
    enum fetch_next next = run->done(run->context, r->route, &r->result);
    release(run, r);
    r->is_done = next != FETCH_AGAIN;
    r->not_before_ns = now_ns + run->watch->retry_wait_ms * NS_PER_MS;
    run->enough = run->enough || next == FETCH_ENOUGH;
}

/* While a liveness route may need another try, the other routes leave one place free for it. */
static bool may_start(const struct run *run, const struct request *r)
{
    bool is_liveness = run->watch->routes[r->route].liveness;
    size_t liveness_left = 0;
    size_t others = 0;
    for (size_t i = 0; i < run->count; i++) {
        const struct request *other = &run->requests[i];
        bool counts = run->watch->routes[other->route].liveness;
        liveness_left += counts && !other->is_done;
        others += !counts && other->easy != NULL;
    }
    if (run->active >= (size_t)run->watch->concurrency)
        return false;
    return is_liveness || liveness_left == 0 || others + 1 < (size_t)run->watch->concurrency;
}

/* Starts the requests that may start. Returns the time of the next retry; CLOCK_NEVER: there is none. */
static int64_t start_waiting(struct run *run, int64_t now_ns)
{
    int64_t next_ns = CLOCK_NEVER;
    for (size_t i = 0; i < run->count && !run->enough; i++) {
        struct request *r = &run->requests[i];
        if (r->is_done || r->easy != NULL)
            continue;
        if (r->not_before_ns > now_ns)
            next_ns = r->not_before_ns < next_ns ? r->not_before_ns : next_ns;
        else if (may_start(run, r) && !start_transfer(run, r, now_ns))
            finish_transfer(run, r, CURLE_FAILED_INIT);
    }
    return next_ns;
}

/* Returns true when a place has become free. */
static bool finish_ended(struct run *run)
{
    bool any = false;
    CURLMsg *message;
    int left;
    while (!run->enough && (message = curl_multi_info_read(run->multi, &left)) != NULL) {
        char *request = NULL;
        CURLcode code = message->data.result;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request) == CURLE_OK)
            finish_transfer(run, (struct request *)(void *)request, code);
        any = true;
    }
    return any;
}

static void end_overdue(struct run *run, int64_t now_ns)
{
    for (size_t i = 0; i < run->count && !run->enough; i++) {
        struct request *r = &run->requests[i];
        int64_t limit_ns = run->watch->routes[r->route].timeout_ms * NS_PER_MS + OVERRUN_NS;
        if (r->easy != NULL && now_ns - r->started_ns > limit_ns)
            finish_transfer(run, r, CURLE_OPERATION_TIMEDOUT);
    }
}

static bool all_done(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (!run->requests[i].is_done)
            return false;
    return true;
}

static int64_t cpu_now_ns(void)
{
    struct timespec used;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0 ? used.tv_sec * NS_PER_S + used.tv_nsec : 0;
}

/* Adds to each request under way the time in which the machine kept this process from running: the time since
 * due_ns, when the loop wanted to go on, without the CPU time used. */
static int64_t add_late(struct run *run, int64_t due_ns)
{
    int64_t now_ns = clock_now_ns();
    int64_t cpu_ns = cpu_now_ns();
    int64_t late_ns = now_ns - due_ns - (cpu_ns - run->cpu_ns);
    for (size_t i = 0; i < run->count && late_ns > 0; i++)
        if (run->requests[i].easy != NULL)
            run->requests[i].late_ns += late_ns;
    run->cpu_ns = cpu_ns;
    return now_ns;
}

static bool loop(struct run *run, struct error *err)
{
    int64_t due_ns = clock_now_ns();
    run->cpu_ns = cpu_now_ns();
    while (!run->enough && !all_done(run)) {
        int running;
        int64_t now_ns = add_late(run, due_ns);
        int64_t next_ns = start_waiting(run, now_ns);
        CURLMcode code = curl_multi_perform(run->multi, &running);
        now_ns = due_ns = add_late(run, now_ns);
        if (finish_ended(run))
            continue;
        end_overdue(run, now_ns);
        if (run->enough || all_done(run))
            break;
        int wait_ms = clock_poll_timeout_ms(next_ns, now_ns);
        wait_ms = wait_ms < 0 || wait_ms > IDLE_MS ? IDLE_MS : wait_ms;
        if (code == CURLM_OK)
            code = curl_multi_poll(run->multi, NULL, 0, wait_ms, NULL);
        due_ns += wait_ms * NS_PER_MS;
        if (code != CURLM_OK) {
            error_set(err, "libcurl: %s", curl_multi_strerror(code));
            return false;
        }
    }
    return true;
}

/* Lists the wanted routes, liveness routes first. */
static void line_up(struct run *run, const bool *wanted)
{
    for (int liveness = 1; liveness >= 0; liveness--) {
        for (size_t i = 0; i < run->watch->route_count; i++)
            if (wanted[i] && run->watch->routes[i].liveness == (liveness == 1))
                run->requests[run->count++].route = i;
    }
}

bool fetch_run(const struct watch *watch, const bool *wanted, fetch_done_fn *done, void *context,
               struct error *err)
{
    struct run run = {.watch = watch, .done = done, .context = context};
    bool ok = false;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        error_set(err, "libcurl cannot be initialised");
        return false;
    }
    run.requests = mem_calloc(watch->route_count, sizeof *run.requests);
    line_up(&run, wanted);
    run.multi = curl_multi_init();
    if (run.multi == NULL)
        error_set(err, "libcurl: no multi handle");
    else
        ok = loop(&run, err);
    for (size_t i = 0; i < run.count; i++)
        release(&run, &run.requests[i]);
    if (run.multi != NULL)
        (void)curl_multi_cleanup(run.multi);
    curl_global_cleanup();
    free(run.requests);
    return ok;
}
