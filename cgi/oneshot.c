/* Probes once and writes one response to stdout. Runs on the main thread of a process without other threads
 * but errands; owns nothing between two calls. */
#include "cgi/oneshot.h"

#include "cgi/answer/route.h"
#include "cgi/drain.h"
#include "cgi/probe/prober.h"
#include "cgi/serve/process.h"
#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define BODY_NS (100 * NS_PER_MS)

static struct request request_of_environment(void)
{
    return (struct request){
        .method = getenv("REQUEST_METHOD"),
        .path_info = getenv("PATH_INFO"),
        .script_name = getenv("SCRIPT_NAME"),
        .query = getenv("QUERY_STRING"),
        .audience = getenv("AUDIENCE"),
    };
}

/* The facts for one response, and the data that they point to. */
struct shot {
    const struct snapshot *snapshot; /* one reference */
    struct process_facts process;
    struct verdict verdict;
    struct transitions none; /* always empty: a single verdict is not a transition */
    struct facts facts;
};

/* Takes over the reference to the snapshot, and borrows the selection. process has what this process knows of
 * itself so far. */
static void begin_shot(struct shot *shot, const struct config *config, const struct snapshot *snapshot,
                       const struct selection *selection, struct process_facts process, int64_t started_ns)
{
    int64_t now_ns = clock_now_ns();
    process.usage = process_read();
    process.started_wall_ms = clock_wall_ms() - (now_ns - started_ns) / NS_PER_MS;
    *shot = (struct shot){.snapshot = snapshot, .process = process};
    shot->verdict =
        verdict_judge(snapshot, &shot->process, selection, now_ns, config->stale_after_ms * NS_PER_MS);
    shot->facts = (struct facts){
        .config = config,
        .snapshot = snapshot,
        .verdict = &shot->verdict,
        .selection = selection,
        .transitions = &shot->none,
        .process = &shot->process,
        .started_ns = started_ns,
        .now_ns = now_ns,
    };
}

static void end_shot(struct shot *shot)
{
    snapshot_release(shot->snapshot);
}

/* Probes if probe is true, then judges. False: the system has no descriptor left. */
static bool probe_shot(struct shot *shot, const struct config *config, const struct checks *checks,
                       const struct selection *selection, struct process_facts process, bool probe)
{
    int64_t started_ns = clock_now_ns();
    struct snapshot_slot *slot = snapshot_slot_new();
    if (slot == NULL)
        return false;
    if (probe)
        prober_run_once(config, checks, slot);
    begin_shot(shot, config, snapshot_acquire(slot), selection, process, started_ns);
    snapshot_slot_free(slot);
    return true;
}

static int print(const char *bytes, size_t len)
{
    bool written = fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0;
    return written ? 0 : 1;
}

static int print_answer(const struct request *request, const struct facts *facts)
{
    struct site *site = site_new();
    site_render(site, facts);
    struct response response = site_answer(site, request, facts);
    int exit_code = print(response.bytes, response.len);
    site_free(site);
    return exit_code;
}

/* A chunked body has no length and ends with the input (Apache passes it on like that). */
static long long announced_body_len(void)
{
    const char *content_length = getenv("CONTENT_LENGTH");
    if (getenv("HTTP_TRANSFER_ENCODING") != NULL)
        return LLONG_MAX;
    return content_length != NULL ? strtoll(content_length, NULL, 10) : 0;
}

/* Reads and ignores the body until BODY_NS have passed. A CGI server that cannot write all of it may blame
 * the program and drop the response (Apache's mod_cgid does: ECONNRESET). */
static void read_body(void)
{
    long long left = announced_body_len();
    int64_t deadline_ns = clock_now_ns() + BODY_NS;
    struct pollfd body = {.fd = STDIN_FILENO, .events = POLLIN};
    char ignored[16384];

    while (left > 0) {
        int ready = poll(&body, 1, clock_poll_timeout_ms(deadline_ns, clock_now_ns()));
        ssize_t n = ready > 0 ? read(STDIN_FILENO, ignored, sizeof ignored) : ready;
        if (n == 0 || (n < 0 && errno != EINTR) || clock_now_ns() >= deadline_ns)
            return;
        left -= n > 0 ? n : 0;
    }
}

/* The response comes first, so that it does not wait for a slow client. */
static int print_cgi(const struct request *request, const struct facts *facts)
{
    int exit_code = print_answer(request, facts);
    read_body();
    return exit_code;
}

/* What the drain by hand says of this process. */
static struct process_facts facts_of_drain(const struct drain *drain)
{
    int64_t since_wall_ms = drain_since_wall_ms(drain);
    return (struct process_facts){.reason = since_wall_ms != 0 ? REASON_DRAINING : REASON_NONE,
                                  .draining_since_wall_ms = since_wall_ms,
                                  .drain_file = drain_file(drain),
                                  .drain_error = drain_error(drain)};
}

int oneshot_cgi(const struct config *config, const struct checks *checks)
{
    const struct request request = request_of_environment();
    struct drain *drain = drain_open(config, -1, clock_now_ns());
    struct shot shot;
    int exit_code = 1;

    if (probe_shot(&shot, config, checks, NULL, facts_of_drain(drain),
                   route_needs_snapshot(&request, config))) {
        exit_code = print_cgi(&request, &shot.facts);
        end_shot(&shot);
    }
    drain_close(drain);
    return exit_code;
}

/* The setting itself may be what is wrong. Then nobody sees more than it might have meant to show. */
static enum public_view public_view_of_environment(void)
{
    const char *text = getenv("HEALTH_PUBLIC");
    return text == NULL || text[0] == '\0' || strcmp(text, "full") == 0 ? PUBLIC_FULL : PUBLIC_BARE;
}

void oneshot_cgi_unconfigured(void)
{
    const struct config config = {.interval_ms = MS_PER_S, /* for Retry-After */
                                  .stale_after_ms = MS_PER_S,
                                  .public_view = public_view_of_environment()};
    struct request request = request_of_environment();
    struct snapshot *nothing = snapshot_new(0);
    struct shot shot;

    request.query = NULL; /* no check is known, so it could only be an error */
    nothing->starting = true;
    nothing->taken_ns = clock_now_ns();
    begin_shot(&shot, &config, nothing, NULL, (struct process_facts){.reason = REASON_INTERNAL},
               nothing->taken_ns);
    (void)print_cgi(&request, &shot.facts);
    end_shot(&shot);
}

static void print_usage_error(enum selection_result result, const char *argument, const struct checks *checks)
{
    fprintf(stderr, "health-api: --once '%s': ", argument);
    switch (result) {
    case SELECTION_MALFORMED: fputs("expected a query string, such as ?only=process\n", stderr); break;
    case SELECTION_TOO_MANY: fprintf(stderr, "expected only= at most %d times\n", SELECTION_MAX); break;
    case SELECTION_EMPTY: fputs("only= has no value, expected a name\n", stderr); break;
    default:
        fputs("only= has an unknown value, expected one of process database", stderr);
        for (size_t i = 0; i < checks->count; i++)
            fprintf(stderr, " %s", checks->items[i].name);
        fputs("\n", stderr);
    }
}

/* Reads the query of --once. NULL selects everything. */
static enum selection_result select_checks(const char *argument, const struct checks *checks,
                                           struct selection *out)
{
    if (argument == NULL)
        return SELECTION_ABSENT;
    struct snapshot *names = snapshot_new(checks->count);
    for (size_t i = 0; i < checks->count; i++)
        snprintf(names->checks[i].name, sizeof names->checks[i].name, "%s", checks->items[i].name);
    enum selection_result result = selection_read(argument + 1, names, out);
    snapshot_release(names);
    return result;
}

int oneshot_print(const struct config *config, const struct checks *checks, const char *argument)
{
    struct selection named;
    const struct selection *selection = NULL;
    struct process_facts process = {0};
    struct drain *drain = NULL;
    struct shot shot;
    struct buf document = {0};
    int exit_code = 1;

    enum selection_result result = select_checks(argument, checks, &named);
    if (result == SELECTION_MADE)
        selection = &named;
    else if (result != SELECTION_ABSENT) {
        print_usage_error(result, argument, checks);
        return EX_USAGE;
    }
    /* Who does not ask for the process asks for the database, and not whether this node is in service. */
    if (selection != NULL && selection->process) {
        drain = drain_open(config, -1, clock_now_ns());
        process = facts_of_drain(drain);
    }
    if (probe_shot(&shot, config, checks, selection, process, selection == NULL || selection->database)) {
        document_health(&shot.facts, &document);
        exit_code = print(document.data, document.len);
        if (shot.verdict.status != HEALTH_HEALTHY)
            exit_code = 1;
        buf_free(&document);
        end_shot(&shot);
    }
    drain_close(drain);
    return exit_code;
}
