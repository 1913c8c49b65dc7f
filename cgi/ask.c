/* Sends one request to the instance that runs, prints the answer, or explains why there is none. Main thread
 * of a process without other threads; owns nothing after the call. */
#include "cgi/ask.h"

#include "cgi/config.h"
#include "common/clock.h"
#include "common/fastcgi.h"
#include "common/text.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_PATH "/api/health"

#define LIMIT_NS   (2 * NS_PER_S)
#define LIMIT_TEXT "2 s"

/* More than /api/status of CHECKS_MAX checks has, and little enough for the smallest container. */
#define ANSWER_MAX_BYTES (4 << 20)

/* Where to ask. */
struct place {
    const char *listen; /* HEALTH_LISTEN; NULL: not set */
    char name[160];     /* for messages; fits each address that can be parsed */
    struct address address;
};

static bool find_place(struct place *out, struct error *err)
{
    if (!config_load_listen(environ, &out->listen, err))
        return false;
    const char *text = out->listen != NULL ? out->listen : CONFIG_DEFAULT_LISTEN;
    snprintf(out->name, sizeof out->name, "%s", text);
    text_clean(out->name);
    (void)!config_parse_listen(text, &out->address); /* config_load_listen has checked it */
    return true;
}

static bool read_target(const char *argument, struct buf *out, struct error *err)
{
    bool has_path = argument != NULL && argument[0] != '?';
    if (has_path && argument[0] != '/') {
        error_set(err, "--ask '%.60s': expected /PATH, /PATH?QUERY or ?QUERY", argument);
        text_clean(err->text);
        return false;
    }
    buf_appendf(out, "%s%s", has_path ? "" : DEFAULT_PATH, argument != NULL ? argument : "");
    if (out->len > FASTCGI_MAX_TARGET) {
        error_set(err, "--ask: %zu bytes of path and query, expected at most %d", out->len,
                  FASTCGI_MAX_TARGET);
        return false;
    }
    return true;
}

/* The names come from the files in /etc: a name service of the network may hang. */
static void name_user(uid_t uid, char *out, size_t out_size)
{
    const struct passwd *entry = NULL;
    FILE *file = fopen("/etc/passwd", "re");
    snprintf(out, out_size, "%u", (unsigned int)uid);
    while (file != NULL && (entry = fgetpwent(file)) != NULL && entry->pw_uid != uid)
        ;
    if (entry != NULL)
        snprintf(out, out_size, "%s", entry->pw_name);
    if (file != NULL)
        fclose(file);
}

static void name_group(gid_t gid, char *out, size_t out_size)
{
    const struct group *entry = NULL;
    FILE *file = fopen("/etc/group", "re");
    snprintf(out, out_size, "%u", (unsigned int)gid);
    while (file != NULL && (entry = fgetgrent(file)) != NULL && entry->gr_gid != gid)
        ;
    if (entry != NULL)
        snprintf(out, out_size, "%s", entry->gr_name);
    if (file != NULL)
        fclose(file);
}

/* Returns the path of a Unix socket; NULL for TCP. */
static const char *path_of(const struct address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->socket;
    return un->sun_family == AF_UNIX ? un->sun_path : NULL;
}

/* In these two st is what is at the path; NULL: nothing that this user may see. */

static void describe_refusal(const char *path, const struct stat *st, struct error *out)
{
    const char *found = path == NULL            ? "nobody listens"
                        : st == NULL            ? "there is no socket"
                        : S_ISSOCK(st->st_mode) ? "nobody listens at this socket"
                        : S_ISDIR(st->st_mode)  ? "this is a directory, not a socket"
                                                : "this is a file, not a socket";
    error_set(out, "%s", found);
}

static void describe_denial(const struct stat *st, struct error *out)
{
    char me[64];
    char user[64];
    char group[64];
    name_user(geteuid(), me, sizeof me);
    if (st == NULL) {
        error_set(out, "user %s may not enter a directory of this path", me);
        return;
    }
    name_user(st->st_uid, user, sizeof user);
    name_group(st->st_gid, group, sizeof group);
    error_set(out, "user %s may not connect: the socket is that of user %s and group %s, mode %04o", me, user,
              group, (unsigned int)st->st_mode & 07777);
}

/* Prints a line: the address, what was found, and what to do. outcome is not FASTCGI_ANSWER. */
static void explain(const struct place *place, enum fastcgi_outcome outcome, const struct error *failure)
{
    const char *path = path_of(&place->address);
    const char *advice = "";
    struct error found = *failure;
    struct stat st;
    bool is_seen = path != NULL && stat(path, &st) == 0;

    if (outcome == FASTCGI_DENIED && is_seen && !S_ISSOCK(st.st_mode))
        outcome =
            FASTCGI_REFUSED; /* the kernel looks at the permission first, and root would be refused, too */
    switch (outcome) {
    case FASTCGI_ANSWER: return;
    case FASTCGI_REFUSED:
        describe_refusal(path, is_seen ? &st : NULL, &found);
        advice = "start health-api, or set HEALTH_LISTEN to the address where it listens";
        break;
    case FASTCGI_DENIED:
        if (path != NULL)
            describe_denial(is_seen ? &st : NULL, &found);
        advice = path != NULL ? "run this as root (sudo), or as a user who may"
                              : "a firewall or a security policy of this machine forbids it";
        break;
    case FASTCGI_SILENT:
    case FASTCGI_BEGUN:
        error_set(&found, "%.200s after " LIMIT_TEXT, failure->text);
        advice = "health-api hangs, cannot start, or is not what listens there; see its log, then restart it";
        break;
    case FASTCGI_CLOSED:
    case FASTCGI_CUT:
        advice = "health-api has just ended, or is not what listens there; ask again, then see its log";
        break;
    case FASTCGI_MALFORMED:
        advice = path != NULL ? "another program listens there; 'ss -xlp' names it"
                              : "another program listens there; 'ss -tlnp' names it";
        break;
    case FASTCGI_LOCAL: advice = "the fault is on the side that asks, or in HEALTH_LISTEN"; break;
    }
    text_clean(found.text);
    fprintf(stderr, "health-api: %s: %s: %s\n", place->name, found.text, advice);
    if (outcome == FASTCGI_REFUSED && place->listen == NULL)
        config_print_unread_file("ask the service", "--ask", stderr);
}

static int print_answer(const struct place *place, const struct fastcgi_answer *answer)
{
    const struct buf *body = &answer->body;
    bool is_good = answer->status >= 200 && answer->status <= 299;
    if (fwrite(body->data, 1, body->len, stdout) != body->len || fflush(stdout) != 0) {
        fprintf(stderr, "health-api: standard output: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    if (!is_good && body->len == 0)
        fprintf(stderr, "health-api: %s: status %d without a document\n", place->name, answer->status);
    return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int ask(const struct place *place, const char *target)
{
    static const struct fastcgi_param audience = {"AUDIENCE", "operator"};
    const struct fastcgi_request request = {.target = target,
                                            .extra = &audience,
                                            .max_bytes = ANSWER_MAX_BYTES,
                                            .deadline_ns = clock_now_ns() + LIMIT_NS};
    const struct sockaddr *to = (const struct sockaddr *)&place->address.socket;
    struct fastcgi_answer answer;
    struct error failure = {0};
    enum fastcgi_outcome outcome = fastcgi_ask(to, place->address.len, &request, &answer, &failure);
    int exit_code = EX_UNAVAILABLE;
    if (outcome == FASTCGI_ANSWER)
        exit_code = print_answer(place, &answer);
    else
        explain(place, outcome, &failure);
    buf_free(&answer.body);
    return exit_code;
}

int ask_print(const char *argument)
{
    struct buf target = {0};
    struct place place;
    struct error err = {0};
    int exit_code;

    signal(SIGPIPE, SIG_IGN); /* so that a write to a closed pipe fails */
    if (!read_target(argument, &target, &err))
        exit_code = EX_USAGE;
    else if (!find_place(&place, &err))
        exit_code = EX_CONFIG;
    else
        exit_code = ask(&place, target.data);
    if (err.text[0] != '\0')
        fprintf(stderr, "health-api: %s\n", err.text);
    buf_free(&target);
    return exit_code;
}
