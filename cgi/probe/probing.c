/* Asks the questions over at most two sessions, and books the answers. ARCHITECTURE.md has a diagram of it.
 *
 *   current: the session that gets the next questions.
 *   other: a newcomer that logs in, or a retired session that still owes the answer to a check.
 *
 * A newcomer that has logged in becomes current. Runs on the prober thread, or on the main thread of CGI and
 * --once; owns both sessions, the ledger and the resolver. */
#include "cgi/probe/probing.h"

#include "cgi/probe/ledger.h"
#include "cgi/probe/resolver.h"
#include "cgi/probe/session.h"
#include "cgi/probe/silence.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A failed login is tried again after 0.25 s, then after up to 2 s. If the server is starting, or no server
 * listens, the wait stays at 0.25 s: such a login costs little, and the outage may end at any moment. If the
 * server refused the role, the wait is longer, because too many failed logins may lock an account. */
#define BACKOFF_MIN_MS    250
#define BACKOFF_MAX_MS    2000
#define BACKOFF_ACCESS_MS 10000

/* If poll returns this much later than planned, this process was not running in the meantime. */
#define STALL_NS (100 * NS_PER_MS)

/* A session, and the check that was last asked on it. */
struct slot {
    struct session *session; /* NULL: none */
    size_t check;
};

struct probing {
    const struct config *config;
    struct snapshot_slot *slot;
    const struct checks *checks;
    struct ledger *ledger;

    struct slot current;
    struct slot other;
    struct answer suspect; /* of a check that the server did not end: the next ping decides whether the check
                              is to blame. QUESTION_NONE: there is none */
    size_t suspect_check;
    int64_t next_login_ns;
    int64_t let_in_ns;   /* when the current session logged in */
    struct answer login; /* of the current session; booked only with its first answer, because PgBouncer lets
                            us in even while the server is silent */
    struct answer refusal; /* of a login by someone who may wait until we leave; QUESTION_NONE: none */
    struct database_server server;
    int64_t backoff_ms;
    struct resolver *resolver;
    size_t hosts_tried; /* how many logins in a row have timed out, each at a different host */
    int64_t
        reconnect_from_ns; /* earliest login, so that a server that drops each session causes no busy loop */
    int losses;            /* how many current sessions in a row were lost before they answered */
    struct silence silence;
    int64_t next_ping_ns;
    int64_t next_recovery_ns;
    int64_t published_ns;
    bool is_degraded; /* of the last published snapshot */
    int64_t wake_ns;  /* the latest time for the next turn */
};

static int64_t interval_ns(const struct probing *p)
{
    return p->config->interval_ms * NS_PER_MS;
}

static int64_t heartbeat_ns(const struct probing *p)
{
    return config_heartbeat_ns(p->config);
}

/* Subtracts up to 10 %, so that many instances do not log in at the same moment. */
static int64_t with_jitter(int64_t ns)
{
    return ns - ns / 10000 * (random() % 1001);
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

/* True: the session has logged in, and has a question without an answer. */
static bool owes(const struct slot *slot)
{
    return is_in(slot, SESSION_ASKED) && session_question(slot->session) != QUESTION_LOGIN;
}

/* Notes when bytes last came on either session. Until a newcomer has received any, its heard_ns is the time
 * when it was opened, which does not count. */
static void hear(struct probing *p)
{
    if (p->current.session != NULL)
        silence_hear(&p->silence, session_heard_ns(p->current.session));
    if (p->other.session != NULL && session_heard_ns(p->other.session) != session_asked_ns(p->other.session))
        silence_hear(&p->silence, session_heard_ns(p->other.session));
}

/* Any answer of the server is as good as an answered ping. */
static void end_silence(struct probing *p, int64_t now_ns)
{
    hear(p);
    silence_end(&p->silence, now_ns);
    p->losses = 0;
    p->next_ping_ns = now_ns + heartbeat_ns(p);
}

/* Books an answer which shows that the server works. So the suspect check is to blame, unless the whole
 * server was silent meanwhile. */
static void book_alive(struct probing *p, const struct answer *answer, int64_t now_ns)
{
    end_silence(p, now_ns);
    ledger_book_ping(p->ledger, answer, now_ns);
    if (p->login.question == QUESTION_LOGIN)
        ledger_book_login(p->ledger, &p->login, &p->server, now_ns);
    p->login.question = QUESTION_NONE;
    if (p->suspect.question == QUESTION_CHECK && p->suspect.sent_ns >= p->silence.ended_ns &&
        !ledger_fails(p->ledger))
        ledger_book_check(p->ledger, p->suspect_check, &p->suspect, now_ns);
    p->suspect.question = QUESTION_NONE;
}

/* The database as a whole fails, so the suspect check is not to blame. */
static void forget_suspect(struct probing *p)
{
    p->suspect.question = QUESTION_NONE;
}

static void take_check(struct probing *p, const struct slot *slot, const struct answer *answer,
                       int64_t now_ns)
{
    if (answer->by_server) {
        struct answer own = *answer; /* without the time in which not even a newcomer got an answer */
        if (answer->sent_ns < p->silence.ended_ns)
            own.took_ns = clock_max(own.took_ns - p->silence.lasted_ns, 0);
        ledger_book_check(p->ledger, slot->check, &own, now_ns);
        struct answer alive = {.question = QUESTION_CHECK,
                               .by_server = true,
                               .sent_ns = answer->sent_ns,
                               .took_ns = answer->took_ns};
        book_alive(p, &alive, now_ns);
        return;
    }
    /* An operator, the crash of another server process (SQLSTATE class 57) or a network may have ended the
     * session. If the server did not end the query in time, perhaps just that one server process is stuck.
     * At first the check is forgiven for that; entry.c says how often. After that, it is to blame. */
    bool is_lost = answer->reason != REASON_QUERY_TIMEOUT;
    if (!ledger_note_lost(p->ledger, slot->check, answer, session_backend_pid(slot->session)))
        return;
    ledger_suspect(p->ledger, slot->check, session_backend_pid(slot->session), now_ns);
    if (is_lost) {
        ledger_book_check(p->ledger, slot->check, answer, now_ns);
    } else {
        p->suspect = *answer;
        p->suspect_check = slot->check;
    }
}

/* While lookups fail, the addresses may be out of date. So a login that times out also reports the lookup
 * error. */
static void book_login_failure(struct probing *p, struct answer answer, int64_t now_ns)
{
    const char *lookup = resolver_error(p->resolver);
    size_t len = strlen(answer.detail);
    if (answer.reason == REASON_CONNECT_TIMEOUT && lookup[0] != '\0')
        snprintf(answer.detail + len, sizeof answer.detail - len, "; %s", lookup);
    ledger_book_login(p->ledger, &answer, NULL, now_ns);
}

static void take_login_failure(struct probing *p, const struct answer *answer, int64_t now_ns)
{
    bool lets_nobody_in = answer->refused || answer->reason == REASON_RESTARTING;
    int64_t wait_ms = p->backoff_ms == 0 || lets_nobody_in ? BACKOFF_MIN_MS : p->backoff_ms * 2;

    drop(&p->other);
    if (answer->reason == REASON_CONNECT_TIMEOUT) {
        resolver_demote(p->resolver, now_ns);
        if (++p->hosts_tried < resolver_hosts(p->resolver)->count) {
            p->next_login_ns = now_ns; /* the next host may let us in */
            return;
        }
    }
    p->hosts_tried = 0;
    book_login_failure(p, *answer, now_ns);
    forget_suspect(p);
    p->backoff_ms = clock_min(wait_ms, BACKOFF_MAX_MS);
    /* Failed logins with these codes may lock an account: class 28, or 08P01, which PgBouncer sends instead.
     */
    bool is_refused_role = answer->reason == REASON_ACCESS && (strncmp(answer->sqlstate, "28", 2) == 0 ||
                                                               strcmp(answer->sqlstate, "08P01") == 0);
    wait_ms = is_refused_role ? BACKOFF_ACCESS_MS : p->backoff_ms;
    p->next_login_ns = now_ns + wait_ms * NS_PER_MS + random() % (wait_ms * NS_PER_MS / 10);
    if (answer->reason != REASON_CONNECT_TIMEOUT)
        silence_interrupt(&p->silence, now_ns);
    /* A smart shutdown, a proxy that stops softly, or an operator who wants to drop the database waits until
     * we have left. A server that is full does not: the next login would take our place. */
    p->refusal = *answer;
    if (!lets_nobody_in && answer->reason != REASON_ACCESS)
        p->refusal.question = QUESTION_NONE;
}

/* The newcomer has logged in and becomes current. The old session is kept only if it owes the answer to a
 * check. */
static void take_login(struct probing *p, const struct answer *answer, int64_t now_ns)
{
    struct slot old = p->current;

    session_server(p->other.session, &p->server);
    p->login = *answer;
    p->refusal.question = QUESTION_NONE;
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
    p->next_ping_ns = now_ns; /* only an answer shows that the server works: PgBouncer may have let us in */
}

static void log_session_end(const struct answer *answer)
{
    log_event(LOG_LEVEL_INFO, "session ended", LOG_STR("reason", reason_name(answer->reason)),
              LOG_STR("sqlstate", answer->sqlstate), LOG_STR("detail", answer->detail));
}

/* Closes the session, once it is idle, for someone who waits for that. Until HEALTH_FALL is reached it stays,
 * because its pings keep the last result fresh. */
static void leave(struct probing *p)
{
    if (p->refusal.question == QUESTION_NONE || !ledger_is_down(p->ledger) ||
        !is_in(&p->current, SESSION_IDLE))
        return;
    log_session_end(&p->refusal);
    drop(&p->current);
}

static void take_loss(struct probing *p, struct slot *slot, const struct answer *answer, int64_t now_ns)
{
    log_session_end(answer);
    ledger_note_reconnect(p->ledger);
    if (slot == &p->current) {
        int64_t from_ns =
            answer->reason == REASON_MALFORMED ? now_ns + BACKOFF_MIN_MS * NS_PER_MS : p->reconnect_from_ns;
        p->next_login_ns = clock_min(p->next_login_ns, from_ns > now_ns ? from_ns : now_ns);
        p->reconnect_from_ns = p->next_login_ns + BACKOFF_MIN_MS * NS_PER_MS;
        bool is_dropped = answer->reason != REASON_QUERY_TIMEOUT && !answer->by_server;
        p->losses += is_dropped;
        if (is_dropped && p->losses > 1) { /* the server lets us in but answers no question */
            struct answer lost = *answer;
            lost.question = QUESTION_PING;
            ledger_book_ping(p->ledger, &lost, now_ns);
            forget_suspect(p);
        }
        if (answer->reason != REASON_QUERY_TIMEOUT)
            silence_interrupt(&p->silence, now_ns);
    }
    drop(slot);
    if (slot == &p->current && owes(&p->other)) { /* make room for a newcomer */
        p->current = p->other;
        p->other = (struct slot){0};
    }
}

/* Fails a check whose server process still works on it, long after the limit. */
static void book_stuck(struct probing *p, size_t check, const struct answer *orphan, int64_t now_ns)
{
    struct answer stuck = {
        .question = QUESTION_CHECK, .reason = REASON_QUERY_TIMEOUT, .sent_ns = orphan->sent_ns};
    snprintf(stuck.detail, sizeof stuck.detail, "the server process is still working on this check");
    ledger_book_check(p->ledger, check, &stuck, now_ns);
}

/* True: the answer shows that the server works. Errors such as a cancelled query, a role limit or a missing
 * privilege show this, too. */
static bool is_alive(const struct answer *answer)
{
    return answer->reason == REASON_NONE ||
           (!answer->ends_session &&
            (answer->reason == REASON_QUERY_TIMEOUT || answer->reason == REASON_QUERY_ERROR ||
             answer->reason == REASON_ACCESS));
}

static void take_answer(struct probing *p, struct slot *slot, const struct answer *answer, int64_t now_ns)
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
        if (answer->by_server && is_alive(answer)) {
            struct answer alive = *answer;
            alive.reason = REASON_NONE;
            book_alive(p, &alive, now_ns);
        } else if (answer->by_server) {
            ledger_book_ping(p->ledger, answer, now_ns);
            forget_suspect(p);
        }
        break;
    }
    if (answer->ends_session)
        take_loss(p, slot, answer, now_ns);
    else if (slot == &p->other)
        drop(slot);
}

/* An answer may move sessions between the slots, so the loop reads the slot again each time. */
static void step_slot(struct probing *p, struct slot *slot, int64_t now_ns)
{
    struct answer answer;
    while (slot->session != NULL && session_step(slot->session, now_ns, &answer))
        take_answer(p, slot, &answer, now_ns);
}

/* Begins a silence if the server owes an answer: to a question that was sent, or, while a check runs, to the
 * ping that would be due. */
static void note_silence(struct probing *p, int64_t now_ns)
{
    if (!owes(&p->current))
        return;
    bool is_check = session_question(p->current.session) == QUESTION_CHECK;
    int64_t since_ns = session_asked_ns(p->current.session);
    if (is_check)
        since_ns = clock_max(since_ns, p->next_ping_ns);
    /* While logins fail, a silent session proves nothing about the server. It counts only if a login is
     * waiting for an answer as well. */
    if (p->backoff_ms != 0) {
        if (p->other.session == NULL)
            return;
        since_ns = clock_max(since_ns, session_asked_ns(p->other.session));
    }
    silence_begin(&p->silence, since_ns, now_ns);
}

static void convict(struct probing *p, int64_t now_ns)
{
    struct answer hung = {.question = QUESTION_PING, .reason = REASON_HUNG, .sent_ns = p->silence.since_ns};
    if (now_ns < silence_conviction_ns(&p->silence))
        return;
    if (p->current.session != NULL)
        hung.evidence = session_evidence(p->current.session);
    snprintf(hung.detail, sizeof hung.detail, "no sign of life since the last question");
    silence_convict(&p->silence, now_ns);
    ledger_book_ping(p->ledger, &hung, now_ns);
    forget_suspect(p);
}

static void step_resolver(struct probing *p, int64_t now_ns)
{
    if (!resolver_step(p->resolver, now_ns))
        return;
    ledger_set_hosts(p->ledger, resolver_hosts(p->resolver));
    if (resolver_has_names(p->resolver))
        ledger_book_lookup(p->ledger, resolver_error(p->resolver), resolver_took_ns(p->resolver));
}

/* When to open a newcomer early because a silence is suspected. This happens once in a silence, because
 * PgBouncer accepts every login while the server is frozen, and the sessions would pile up there. */
static int64_t early_ns(const struct probing *p)
{
    if (p->silence.since_ns == CLOCK_NEVER || p->let_in_ns > p->silence.since_ns || p->backoff_ms != 0)
        return CLOCK_NEVER;
    return silence_suspicion_ns(&p->silence);
}

/* When to open a newcomer. A retired session that still owes an answer is replaced only when a silence is
 * suspected. */
static int64_t newcomer_ns(const struct probing *p)
{
    bool is_room = p->other.session == NULL || (owes(&p->other) && p->silence.convicted_ns == 0);
    if (!is_room || (resolver_lacks_address(p->resolver) && resolver_error(p->resolver)[0] == '\0'))
        return CLOCK_NEVER;
    if (p->other.session != NULL)
        return early_ns(p);
    return clock_min(p->next_login_ns, early_ns(p));
}

static void open_newcomer(struct probing *p, int64_t now_ns)
{
    struct answer unknown = {.question = QUESTION_LOGIN, .reason = REASON_UNREACHABLE, .sent_ns = now_ns};

    p->next_login_ns = now_ns + p->config->reconnect_every_ms * NS_PER_MS;
    if (owes(&p->other)) {
        ledger_suspect(p->ledger, p->other.check, session_backend_pid(p->other.session), now_ns);
        drop(&p->other);
    }
    if (!resolver_lacks_address(p->resolver)) {
        p->other.session = session_open(resolver_hosts(p->resolver), p->config->connect_timeout_ms, now_ns);
    } else {
        snprintf(unknown.detail, sizeof unknown.detail, "%.199s", resolver_error(p->resolver));
        take_login_failure(p, &unknown, now_ns);
    }
    resolver_ask(p->resolver, now_ns);
}

/* While a retired session owes an answer, only quick checks are asked: a slow one would leave no session for
 * pings. */
static bool only_quick(const struct probing *p)
{
    return owes(&p->other);
}

static void ask_check(struct probing *p, size_t check, int64_t now_ns)
{
    const struct check *c = &p->checks->items[check];
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
static bool ask_next(struct probing *p, bool may_check, int64_t now_ns)
{
    if (!is_in(&p->current, SESSION_IDLE))
        return false;
    may_check = may_check && !ledger_fails(p->ledger) && p->suspect.question == QUESTION_NONE &&
                p->silence.since_ns == CLOCK_NEVER;
    size_t check = may_check ? ledger_pick(p->ledger, only_quick(p), now_ns) : LEDGER_NONE;
    if (now_ns >= p->next_recovery_ns) {
        session_ask_recovery(p->current.session, now_ns);
        p->next_recovery_ns = now_ns + interval_ns(p);
    } else if (now_ns >= p->next_ping_ns || p->suspect.question != QUESTION_NONE) {
        session_ask_ping(p->current.session, now_ns); /* a new session gets a ping before any check */
    } else if (check != LEDGER_NONE) {
        ask_check(p, check, now_ns);
    } else {
        return false;
    }
    return true;
}

static int64_t next_question_ns(const struct probing *p)
{
    if (!is_in(&p->current, SESSION_IDLE))
        return CLOCK_NEVER;
    int64_t next_ns = clock_min(p->next_ping_ns, p->next_recovery_ns);
    return ledger_fails(p->ledger) ? next_ns : clock_min(next_ns, ledger_due_ns(p->ledger, only_quick(p)));
}

/* Publishes a change at once, and other news once per heartbeat. */
static void publish(struct probing *p, int64_t now_ns)
{
    bool is_due = ledger_has_news(p->ledger) || ledger_fails(p->ledger);
    if (!ledger_has_change(p->ledger) && !(is_due && now_ns >= p->published_ns + heartbeat_ns(p)))
        return;
    struct snapshot *s = ledger_snapshot(p->ledger, now_ns);
    p->published_ns = now_ns;
    /* A `healthy` answer must have every count. So a healthy snapshot does not replace a degraded one until
     * every check has been asked. */
    if (p->is_degraded && !snapshot_is_degraded(s) && !ledger_is_complete(p->ledger)) {
        snapshot_release(s);
        return;
    }
    p->is_degraded = snapshot_is_degraded(s);
    snapshot_publish(p->slot, s);
}

/* This process did not run for a while. It first reads what came in the meantime, and each limit starts
 * again. */
static void forgive(struct probing *p, int64_t now_ns)
{
    int64_t late_ns = now_ns - p->wake_ns;
    if (p->current.session != NULL)
        session_extend(p->current.session, late_ns, now_ns);
    if (p->other.session != NULL)
        session_extend(p->other.session, late_ns, now_ns);
    silence_forgive(&p->silence, now_ns);
    p->suspect.question = QUESTION_NONE; /* perhaps the server was not silent */
}

int64_t probing_turn(struct probing *p, bool may_check, struct pollfd fds[static PROBING_POLLED])
{
    int64_t now_ns = clock_now_ns();
    fds[0] = (struct pollfd){.fd = -1};
    fds[1] = (struct pollfd){.fd = -1};

    if (now_ns > p->wake_ns + STALL_NS)
        forgive(p, now_ns);
    step_resolver(p, now_ns);
    step_slot(p, &p->other, now_ns);
    step_slot(p, &p->current, now_ns);
    if (now_ns >= newcomer_ns(p)) {
        open_newcomer(p, now_ns);
        step_slot(p, &p->other, now_ns);
    }
    leave(p);
    while (ask_next(p, may_check, now_ns)) {
        now_ns = clock_now_ns(); /* the answer may be there already */
        step_slot(p, &p->current, now_ns);
    }
    hear(p);
    note_silence(p, now_ns);
    convict(p, now_ns);
    publish(p, now_ns);

    int64_t next_ns =
        clock_min(clock_min(newcomer_ns(p), silence_conviction_ns(&p->silence)), next_question_ns(p));
    if (owes(&p->current) && p->silence.since_ns == CLOCK_NEVER)
        next_ns = clock_min(next_ns, p->next_ping_ns > now_ns ? p->next_ping_ns : CLOCK_NEVER);
    next_ns = clock_min(next_ns, resolver_wait(p->resolver, &fds[2]));
    if (p->other.session != NULL)
        next_ns = clock_min(next_ns, session_wait(p->other.session, &fds[0]));
    if (p->current.session != NULL)
        next_ns = clock_min(next_ns, session_wait(p->current.session, &fds[1]));
    if (ledger_has_news(p->ledger) || ledger_fails(p->ledger))
        next_ns = clock_min(next_ns, p->published_ns + heartbeat_ns(p));
    p->wake_ns = next_ns > now_ns ? next_ns : now_ns;
    return next_ns;
}

bool probing_is_asked(const struct probing *p)
{
    return owes(&p->current) && (session_question(p->current.session) == QUESTION_CHECK ||
                                 session_question(p->current.session) == QUESTION_ORPHAN);
}

void probing_set_checks(struct probing *p, const struct checks *before, const struct checks *checks)
{
    if (owes(&p->other)) { /* the number of its check may change */
        struct answer none = {.question = QUESTION_CHECK, .reason = REASON_QUERY_TIMEOUT};
        (void)ledger_note_lost(p->ledger, p->other.check, &none, session_backend_pid(p->other.session));
        drop(&p->other);
    }
    ledger_set_checks(p->ledger, before, checks);
    p->checks = checks;
    p->suspect.question = QUESTION_NONE;
}

struct probing *probing_new(const struct config *config, const struct checks *checks,
                            struct snapshot_slot *slot)
{
    struct probing *p = mem_calloc(1, sizeof *p);
    int64_t now_ns = clock_now_ns();

    session_init();
    srandom((unsigned int)(now_ns ^ getpid()));
    p->config = config;
    p->slot = slot;
    p->checks = checks;
    p->ledger = ledger_new(config, checks);
    p->suspect.question = QUESTION_NONE;
    p->login.question = QUESTION_NONE;
    p->refusal.question = QUESTION_NONE;
    p->silence = silence_none(config->hung_after_ms * NS_PER_MS, config->connect_timeout_ms * NS_PER_MS,
                              config->interval_ms * NS_PER_MS);
    p->next_login_ns = now_ns;
    p->wake_ns = now_ns;
    p->resolver = resolver_new(config->connect_timeout_ms);
    resolver_ask(p->resolver, now_ns);
    return p;
}

void probing_free(struct probing *p)
{
    drop(&p->current);
    drop(&p->other);
    resolver_free(p->resolver);
    ledger_free(p->ledger);
    free(p);
}

bool probing_is_complete(const struct probing *p)
{
    return ledger_is_complete(p->ledger);
}

int64_t probing_once_ms(const struct probing *p)
{
    size_t hosts = resolver_hosts(p->resolver)->count;
    int64_t logins = (int64_t)(hosts > 0 ? hosts : 1) + (resolver_has_names(p->resolver) ? 1 : 0);
    int64_t longest_ms = p->config->query_timeout_ms;
    for (size_t i = 0; i < p->checks->count; i++)
        longest_ms = clock_max(longest_ms, p->checks->items[i].timeout_ms);
    return logins * p->config->connect_timeout_ms + longest_ms;
}

/* The time for a single probe is over: books a timeout for whatever has no answer yet. */
static void book_timeouts(struct probing *p, int64_t now_ns)
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

void probing_publish(struct probing *p, bool is_last)
{
    int64_t now_ns = clock_now_ns();
    if (is_last && !ledger_is_complete(p->ledger))
        book_timeouts(p, now_ns);
    snapshot_publish(p->slot, ledger_snapshot(p->ledger, now_ns));
}
