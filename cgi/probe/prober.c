/* Decides what to ask, when, and on which session. The thread in here owns both sessions and all state but
 * the commands (stop, new checks), which the main thread leaves under the lock.
 *
 *   current: answers the next questions.   other: a newcomer that logs in, or a retired session that still
 * owes the answer to a check. A newcomer that is let in becomes current. */
#include "cgi/probe/prober.h"

#include "cgi/probe/ledger.h"
#include "cgi/probe/session.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A login that failed is tried again after 0.25 s to 2 s. A server that is starting, or a port where nobody
 * listens, is asked again after the shortest time always: such an attempt costs little and its end is waited
 * for. One that was refused waits longer, for accounts are locked after too many. */
#define BACKOFF_MIN_MS    250
#define BACKOFF_MAX_MS    2000
#define BACKOFF_ACCESS_MS 10000

/* Woken so much too late, this process itself was kept from running. */
#define STALL_NS (100 * NS_PER_MS)

/* A session, and the check that it was asked last. */
struct slot {
    struct session *session; /* NULL: none */
    size_t check;
};

struct prober {
    const struct config *config;
    struct snapshot_slot *published;
    struct checks checks;
    struct ledger *ledger;

    struct slot current;
    struct slot other;
    struct answer
        suspect; /* of a check in flight when the server did not end it; QUESTION_NONE: there is none */
    size_t suspect_check;
    int64_t next_login_ns;
    int64_t let_in_ns; /* the current one */
    int64_t backoff_ms;
    size_t first_host;         /* a host that let us wait is the last to be asked next time */
    size_t hosts_tried;        /* in a row, each in vain for its whole limit */
    int64_t reconnect_from_ns; /* a server that drops us after each question is not asked in a tight loop */
    int64_t silent_ns;         /* since then the server owes us an answer; CLOCK_NEVER: it does not */
    int64_t spoken_ns;         /* nobody was silent before: a login was refused, or we were away */
    int64_t silent_until_ns;   /* the end of the last long silence */
    bool is_hung;              /* and that was booked */
    bool is_silent_extended;
    int64_t next_ping_ns;
    int64_t next_recovery_ns;
    int64_t published_ns;
    bool is_degraded;  /* in the snapshot that was published last */
    int64_t wake_ns;   /* when the loop is to go on at the latest */
    bool reload_waits; /* for the answer to a check: no other is asked before */

    pthread_t thread;
    int wake_fd;
    int done_fd;
    pthread_mutex_t lock; /* of the next three */
    bool stop;
    bool has_new_checks;
    struct checks new_checks;
};

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t interval_ns(const struct prober *p)
{
    return p->config->interval_ms * NS_PER_MS;
}

static int64_t heartbeat_ns(const struct prober *p)
{
    return p->config->heartbeat_ms > 0 ? p->config->heartbeat_ms * NS_PER_MS : interval_ns(p);
}

/* Less up to 10 %, so that many instances do not log in in step. */
static int64_t with_jitter(int64_t ns)
{
    return ns - ns / 10000 * (random() % 1001); /* random has 31 bits: 2 s */
}

static void drop(struct slot *slot)
{
    session_close(slot->session);
    slot->session = NULL;
}

static bool is_in(const struct slot *slot, enum session_state state)
{
    return slot->session != NULL && session_state(slot->session) == state;
}

/* A session that was let in and has not answered yet. */
static bool owes(const struct slot *slot)
{
    return is_in(slot, SESSION_ASKED) && session_question(slot->session) != QUESTION_LOGIN;
}

/* An answer of the server's to anything is as good as a ping. */
static void end_silence(struct prober *p, int64_t now_ns)
{
    if (p->silent_ns != CLOCK_NEVER && now_ns - p->silent_ns > p->config->hung_after_ms * NS_PER_MS / 2)
        p->silent_until_ns = now_ns;
    p->silent_ns = CLOCK_NEVER;
    p->is_hung = false;
    p->is_silent_extended = false;
    p->next_ping_ns = now_ns + heartbeat_ns(p);
}

/* The server lives: then what became of the check in flight was its own fault. */
static void book_alive(struct prober *p, const struct answer *answer, int64_t now_ns)
{
    end_silence(p, now_ns);
    ledger_book_ping(p->ledger, answer, now_ns);
    if (p->suspect.question == QUESTION_CHECK && !ledger_fails(p->ledger))
        ledger_book_check(p->ledger, p->suspect_check, &p->suspect, now_ns);
    p->suspect.question = QUESTION_NONE;
}

/* The database as a whole fails: then a check in flight is not to blame. */
static void book_dead(struct prober *p)
{
    p->suspect.question = QUESTION_NONE;
}

static void take_check(struct prober *p, const struct slot *slot, const struct answer *answer, int64_t now_ns)
{
    if (answer->by_server) {
        ledger_book_check(p->ledger, slot->check, answer, now_ns);
        struct answer alive = {
            .question = QUESTION_CHECK, .sent_ns = answer->sent_ns, .took_ns = answer->took_ns};
        book_alive(p, &alive, now_ns);
        return;
    }
    /* Class 57: an operator, or another session's crash, ended ours, and said so. What is lost without a word
     * is so by a network, the first time; again, it is the check that kills its server process, whatever
     * becomes of the server. */
    if (strncmp(answer->sqlstate, "57", 2) == 0) {
        ledger_forget_asked(p->ledger, slot->check);
        return;
    }
    bool is_lost = answer->reason != REASON_QUERY_TIMEOUT;
    if (is_lost && !ledger_note_lost(p->ledger, slot->check, session_backend_pid(slot->session)))
        return;
    ledger_suspect(p->ledger, slot->check, session_backend_pid(slot->session), now_ns);
    if (is_lost) {
        ledger_book_check(p->ledger, slot->check, answer, now_ns);
    } else if (p->silent_ns == CLOCK_NEVER &&
               answer->sent_ns >= p->silent_until_ns) { /* else the server was silent */
        p->suspect = *answer;
        p->suspect_check = slot->check;
    }
}

static void take_login_failure(struct prober *p, const struct answer *answer, int64_t now_ns)
{
    bool is_brief = answer->refused || answer->reason == REASON_RESTARTING;
    int64_t wait_ms = p->backoff_ms == 0 || is_brief ? BACKOFF_MIN_MS : p->backoff_ms * 2;

    drop(&p->other);
    if (answer->reason == REASON_CONNECT_TIMEOUT) {
        p->first_host++;
        if (++p->hosts_tried < session_count_hosts()) {
            p->next_login_ns = now_ns; /* the next one may let us in */
            return;
        }
    }
    p->hosts_tried = 0;
    ledger_book_login(p->ledger, answer, 0, now_ns);
    book_dead(p);
    p->backoff_ms = min(wait_ms, BACKOFF_MAX_MS);
    /* Class 28: what an account is locked for after too many. */
    bool is_locked_out = strncmp(answer->sqlstate, "28", 2) == 0 && ledger_is_down(p->ledger);
    wait_ms = is_locked_out ? BACKOFF_ACCESS_MS : p->backoff_ms;
    p->next_login_ns = now_ns + wait_ms * NS_PER_MS + random() % (wait_ms * NS_PER_MS / 10);
    if (answer->reason != REASON_CONNECT_TIMEOUT) {
        p->silent_ns = CLOCK_NEVER;
        p->is_hung = false;
        p->spoken_ns = now_ns;
    }
}

/* The newcomer is let in: it answers the next questions. What the old one owes beyond a check is of no
 * interest. */
static void take_login(struct prober *p, const struct answer *answer, int64_t now_ns)
{
    struct slot old = p->current;

    ledger_book_login(p->ledger, answer, session_server_version(p->other.session), now_ns);
    p->backoff_ms = 0;
    p->hosts_tried = 0;
    p->next_login_ns = now_ns + with_jitter(p->config->reconnect_every_ms * NS_PER_MS);
    p->let_in_ns = now_ns;
    p->current = p->other;
    p->other = (struct slot){0};
    if (owes(&old) && session_question(old.session) == QUESTION_CHECK)
        p->other = old;
    else
        drop(&old);
    p->next_ping_ns = now_ns; /* only an answered ping proves it, behind PgBouncer too */
}

static void take_loss(struct prober *p, struct slot *slot, const struct answer *answer, int64_t now_ns)
{
    log_event(LOG_LEVEL_INFO, "session ended, trying a fresh one",
              LOG_STR("reason", reason_name(answer->reason)), LOG_STR("sqlstate", answer->sqlstate),
              LOG_STR("detail", answer->detail));
    ledger_note_reconnect(p->ledger);
    if (slot == &p->current) {
        int64_t from_ns =
            answer->reason == REASON_MALFORMED ? now_ns + BACKOFF_MIN_MS * NS_PER_MS : p->reconnect_from_ns;
        p->next_login_ns = min(p->next_login_ns, from_ns > now_ns ? from_ns : now_ns);
        p->reconnect_from_ns = p->next_login_ns + BACKOFF_MIN_MS * NS_PER_MS;
        if (answer->reason != REASON_QUERY_TIMEOUT) { /* the peer has spoken */
            p->silent_ns = CLOCK_NEVER;
            p->is_hung = false;
        }
    }
    drop(slot);
}

/* Its server process is still at work, long after its limit. */
static void book_stuck(struct prober *p, size_t check, const struct answer *orphan, int64_t now_ns)
{
    struct answer stuck = {
        .question = QUESTION_CHECK, .reason = REASON_QUERY_TIMEOUT, .sent_ns = orphan->sent_ns};
    snprintf(stuck.detail, sizeof stuck.detail, "its server process is still at work");
    ledger_book_check(p->ledger, check, &stuck, now_ns);
}

static void take_answer(struct prober *p, struct slot *slot, const struct answer *answer, int64_t now_ns)
{
    switch (answer->question) {
    case QUESTION_LOGIN:
        if (answer->reason == REASON_NONE)
            take_login(p, answer, now_ns);
        else
            take_login_failure(p, answer, now_ns);
        return;
    case QUESTION_CHECK: take_check(p, slot, answer, now_ns); break;
    case QUESTION_ORPHAN:
        if (answer->has_count && ledger_book_orphan(p->ledger, slot->check, answer->count != 0, now_ns))
            book_stuck(p, slot->check, answer, now_ns);
        /* fall through */
    case QUESTION_PING:
    case QUESTION_RECOVERY:
    case QUESTION_NONE:
        if (answer->by_server && answer->reason == REASON_NONE) {
            book_alive(p, answer, now_ns);
        } else if (answer->by_server) {
            ledger_book_ping(p->ledger, answer, now_ns);
            book_dead(p);
        }
        break;
    }
    if (answer->ends_session)
        take_loss(p, slot, answer, now_ns);
    else if (slot == &p->other)
        drop(slot);
}

static void step_slot(struct prober *p, struct slot *slot, int64_t now_ns)
{
    struct answer answer;
    while (slot->session != NULL && session_step(slot->session, now_ns, &answer))
        take_answer(p, slot, &answer, now_ns);
}

/* Since when the server owes us an answer: a ping that was sent, or one that was due while a check runs. */
static void note_silence(struct prober *p, int64_t now_ns)
{
    if (p->silent_ns != CLOCK_NEVER || !owes(&p->current))
        return;
    bool is_check = session_question(p->current.session) == QUESTION_CHECK;
    int64_t since_ns = session_asked_ns(p->current.session);
    if (is_check && since_ns < p->next_ping_ns)
        since_ns = p->next_ping_ns;
    if (since_ns < p->spoken_ns)
        since_ns = p->spoken_ns;
    if (since_ns <= now_ns)
        p->silent_ns = since_ns;
}

/* When suspicion becomes conviction. Bytes on either session defer that. */
static int64_t conviction_ns(const struct prober *p)
{
    int64_t heard_ns = 0;
    if (p->silent_ns == CLOCK_NEVER || p->is_hung)
        return CLOCK_NEVER;
    if (p->current.session != NULL)
        heard_ns = session_heard_ns(p->current.session);
    if (p->other.session != NULL && session_heard_ns(p->other.session) > heard_ns &&
        session_heard_ns(p->other.session) != session_asked_ns(p->other.session))
        heard_ns = session_heard_ns(p->other.session);
    bool has_heard = heard_ns > p->silent_ns;
    return p->silent_ns + (has_heard ? p->config->connect_timeout_ms : p->config->hung_after_ms) * NS_PER_MS;
}

static void convict(struct prober *p, int64_t now_ns)
{
    struct answer hung = {.question = QUESTION_PING, .reason = REASON_HUNG, .sent_ns = p->silent_ns};
    if (now_ns < conviction_ns(p))
        return;
    snprintf(hung.detail, sizeof hung.detail, "no sign of life since the last question");
    p->is_hung = true;
    ledger_book_ping(p->ledger, &hung, now_ns);
    book_dead(p);
}

/* When a newcomer is wanted: at its time, and early under suspicion; once, for a pooler lets in whoever comes
 * while the server behind it is frozen, and each of them waits there. */
static int64_t newcomer_ns(const struct prober *p)
{
    if (p->other.session != NULL)
        return CLOCK_NEVER;
    if (p->silent_ns == CLOCK_NEVER || p->backoff_ms != 0 || p->current.session == NULL ||
        p->let_in_ns > p->silent_ns)
        return p->next_login_ns;
    bool is_check = owes(&p->current) && session_question(p->current.session) == QUESTION_CHECK;
    return min(p->next_login_ns, p->silent_ns + (is_check ? 0 : p->config->hung_after_ms * NS_PER_MS / 2));
}

static void open_newcomer(struct prober *p, int64_t now_ns)
{
    p->other.session = session_open(p->first_host, p->config->connect_timeout_ms, now_ns);
    p->next_login_ns = now_ns + p->config->reconnect_every_ms * NS_PER_MS;
    int64_t late_ns = clock_now_ns() - now_ns; /* the name took long to be resolved */
    if (late_ns > STALL_NS)
        session_extend(p->other.session, late_ns, now_ns + late_ns);
}

/* While a retired session still owes an answer, only quick checks are asked: two slow ones would leave nobody
 * to ping. */
static bool only_quick(const struct prober *p)
{
    return owes(&p->other);
}

static void ask_check(struct prober *p, size_t check, int64_t now_ns)
{
    const struct check *c = &p->checks.items[check];
    int64_t orphan = ledger_orphan(p->ledger, check);

    p->current.check = check;
    if (orphan != 0) {
        session_ask_orphan(p->current.session, orphan, now_ns);
        return;
    }
    ledger_note_asked(p->ledger, check);
    session_ask_check(p->current.session, c, c->timeout_ms != 0 ? c->timeout_ms : p->config->query_timeout_ms,
                      now_ns);
}

/* True: a question was asked. */
static bool ask_next(struct prober *p, int64_t now_ns)
{
    if (!is_in(&p->current, SESSION_IDLE))
        return false;
    bool may_check =
        !ledger_fails(p->ledger) && p->suspect.question == QUESTION_NONE && p->silent_ns == CLOCK_NEVER;
    size_t check = may_check ? ledger_pick(p->ledger, only_quick(p), now_ns) : LEDGER_NONE;
    if (now_ns >= p->next_recovery_ns) {
        session_ask_recovery(p->current.session, now_ns);
        p->next_recovery_ns = now_ns + interval_ns(p);
    } else if (check != LEDGER_NONE) {
        ask_check(p, check, now_ns);
    } else if (now_ns >= p->next_ping_ns || p->suspect.question != QUESTION_NONE) {
        session_ask_ping(p->current.session, now_ns);
    } else {
        return false;
    }
    return true;
}

static int64_t next_question_ns(const struct prober *p)
{
    if (!is_in(&p->current, SESSION_IDLE))
        return CLOCK_NEVER;
    int64_t next_ns = min(p->next_ping_ns, p->next_recovery_ns);
    return ledger_fails(p->ledger) ? next_ns : min(next_ns, ledger_due_ns(p->ledger, only_quick(p)));
}

/* What changes the answer at once, the rest with a heartbeat. */
static void publish(struct prober *p, int64_t now_ns)
{
    bool is_due = ledger_has_news(p->ledger) || ledger_fails(p->ledger);
    if (!ledger_has_change(p->ledger) && !(is_due && now_ns >= p->published_ns + heartbeat_ns(p)))
        return;
    struct snapshot *s = ledger_snapshot(p->ledger, now_ns);
    p->published_ns = now_ns;
    /* `healthy` again has all its counts: after a reload the old answer stands until the new checks were
     * asked. */
    if (p->is_degraded && !s->degraded && !ledger_is_complete(p->ledger)) {
        snapshot_release(s);
        return;
    }
    p->is_degraded = s->degraded;
    snapshot_publish(p->published, s);
}

/* This process was kept from running: what came meanwhile is read first, and nobody's limit has passed. */
static void forgive(struct prober *p, int64_t now_ns)
{
    int64_t late_ns = now_ns - p->wake_ns;
    if (p->current.session != NULL)
        session_extend(p->current.session, late_ns, now_ns);
    if (p->other.session != NULL)
        session_extend(p->other.session, late_ns, now_ns);
    if (!p->is_silent_extended) {
        p->spoken_ns = now_ns;
        p->silent_ns = p->silent_ns != CLOCK_NEVER ? now_ns : CLOCK_NEVER;
        p->is_silent_extended = true;
    }
}

/* Does all that can be done now; fills what to wait for. Returns the next deadline. */
static int64_t turn(struct prober *p, struct pollfd fds[static 2])
{
    int64_t now_ns = clock_now_ns();
    fds[0] = (struct pollfd){.fd = -1};
    fds[1] = (struct pollfd){.fd = -1};

    if (now_ns > p->wake_ns + STALL_NS)
        forgive(p, now_ns);
    step_slot(p, &p->other, now_ns);
    step_slot(p, &p->current, now_ns);
    if (now_ns >= newcomer_ns(p)) {
        open_newcomer(p, now_ns);
        step_slot(p, &p->other, clock_now_ns()); /* name resolution may have taken long */
        now_ns = clock_now_ns();
    }
    while (ask_next(p, now_ns))
        step_slot(p, &p->current, now_ns);
    note_silence(p, now_ns);
    convict(p, now_ns);
    publish(p, now_ns);

    int64_t next_ns = min(min(newcomer_ns(p), conviction_ns(p)), next_question_ns(p));
    if (owes(&p->current) && p->silent_ns == CLOCK_NEVER)
        next_ns = min(next_ns, p->next_ping_ns > now_ns ? p->next_ping_ns : CLOCK_NEVER);
    if (p->other.session != NULL)
        next_ns = min(next_ns, session_wait(p->other.session, &fds[0]));
    if (p->current.session != NULL)
        next_ns = min(next_ns, session_wait(p->current.session, &fds[1]));
    if (ledger_has_news(p->ledger) || ledger_fails(p->ledger))
        next_ns = min(next_ns, p->published_ns + heartbeat_ns(p));
    p->wake_ns = next_ns > now_ns ? next_ns : now_ns;
    return next_ns;
}

/* Between two questions only. */
static void apply_new_checks(struct prober *p)
{
    struct checks old = p->checks;

    log_event(LOG_LEVEL_NOTICE, "checks reloaded", LOG_INT("checks", p->new_checks.count));
    p->checks = p->new_checks;
    p->new_checks = (struct checks){0};
    p->has_new_checks = false;
    ledger_set_checks(p->ledger, &old, &p->checks);
    checks_free(&old);
    p->suspect.question = QUESTION_NONE;
    if (owes(&p->other))
        drop(&p->other); /* its check may have another number by now */
}

/* False: stop. */
static bool take_commands(struct prober *p)
{
    bool is_asked = owes(&p->current) && (session_question(p->current.session) == QUESTION_CHECK ||
                                          session_question(p->current.session) == QUESTION_ORPHAN);
    eventfd_t ignored;
    (void)!eventfd_read(p->wake_fd, &ignored);
    pthread_mutex_lock(&p->lock);
    bool stop = p->stop;
    if (p->has_new_checks && !is_asked)
        apply_new_checks(p);
    p->reload_waits = p->has_new_checks;
    pthread_mutex_unlock(&p->lock);
    return !stop;
}

static void *run_thread(void *context)
{
    struct prober *p = context;
    while (take_commands(p)) {
        struct pollfd fds[3];
        int64_t deadline_ns = turn(p, fds);
        fds[2] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
        (void)poll(fds, 3, clock_poll_timeout_ms(deadline_ns, clock_now_ns()));
    }
    drop(&p->current);
    drop(&p->other);
    (void)!eventfd_write(p->done_fd, 1);
    return NULL;
}

static struct prober *new_prober(const struct config *config, const struct checks *checks,
                                 struct snapshot_slot *published)
{
    struct prober *p = mem_calloc(1, sizeof *p);
    session_init();
    p->config = config;
    p->published = published;
    p->checks = *checks;
    p->ledger = ledger_new(config, &p->checks);
    p->suspect.question = QUESTION_NONE;
    p->silent_ns = CLOCK_NEVER;
    p->next_login_ns = clock_now_ns();
    p->wake_ns = p->next_login_ns;
    p->wake_fd = -1;
    p->done_fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    srandom((unsigned int)(p->next_login_ns ^ getpid()));
    return p;
}

static void free_prober(struct prober *p)
{
    drop(&p->current);
    drop(&p->other);
    ledger_free(p->ledger);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    if (p->done_fd >= 0)
        close(p->done_fd);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

struct prober *prober_start(const struct config *config, struct checks *checks,
                            struct snapshot_slot *published, struct error *err)
{
    struct prober *p = new_prober(config, checks, published);
    const char *errpos = "eventfd";
    int failure = 0;

    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->wake_fd < 0 || p->done_fd < 0) {
        failure = errno;
        goto failed;
    }
    snapshot_publish(published,
                     ledger_snapshot(p->ledger, clock_now_ns())); /* starting, with the names of the checks */
    errpos = "pthread_create";
    failure = pthread_create(&p->thread, NULL, run_thread, p);
    if (failure != 0)
        goto failed;
    *checks = (struct checks){0};
    return p;

failed:
    error_set(err, "%s: %s", errpos, strerror(failure));
    free_prober(p);
    return NULL;
}

void prober_set_checks(struct prober *p, struct checks *checks)
{
    pthread_mutex_lock(&p->lock);
    checks_free(&p->new_checks);
    p->new_checks = *checks;
    p->has_new_checks = true;
    pthread_mutex_unlock(&p->lock);
    *checks = (struct checks){0};
    (void)!eventfd_write(p->wake_fd, 1);
}

bool prober_stop(struct prober *p, int64_t wait_ms)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    (void)!eventfd_write(p->wake_fd, 1);

    struct pollfd done = {.fd = p->done_fd, .events = POLLIN};
    if (poll(&done, 1, (int)wait_ms) != 1)
        return false;
    pthread_join(p->thread, NULL);
    checks_free(&p->checks);
    checks_free(&p->new_checks);
    free_prober(p);
    return true;
}

/* What is not answered at the end of the time is nobody's else fault. */
static void end_once(struct prober *p, int64_t now_ns)
{
    struct answer late = {.question = QUESTION_CHECK, .reason = REASON_QUERY_TIMEOUT, .sent_ns = now_ns};
    struct answer silent = {.question = QUESTION_PING, .reason = REASON_CONNECT_TIMEOUT, .sent_ns = now_ns};
    size_t check;

    if (p->current.session == NULL || !ledger_has_ping(p->ledger))
        ledger_book_ping(p->ledger, &silent, now_ns);
    else
        while ((check = ledger_unasked(p->ledger)) != LEDGER_NONE)
            ledger_book_check(p->ledger, check, &late, now_ns);
}

void prober_run_once(const struct config *config, const struct checks *checks,
                     struct snapshot_slot *published)
{
    struct prober *p = new_prober(config, checks, published);
    int64_t end_ns =
        p->next_login_ns +
        ((int64_t)session_count_hosts() * config->connect_timeout_ms + config->query_timeout_ms) * NS_PER_MS;
    while (!ledger_is_complete(p->ledger) && clock_now_ns() < end_ns) {
        struct pollfd fds[2];
        int64_t deadline_ns = min(turn(p, fds), end_ns);
        if (!ledger_is_complete(p->ledger))
            (void)poll(fds, 2, clock_poll_timeout_ms(deadline_ns, clock_now_ns()));
    }
    if (!ledger_is_complete(p->ledger))
        end_once(p, clock_now_ns());
    snapshot_publish(published, ledger_snapshot(p->ledger, clock_now_ns()));
    free_prober(p);
}
