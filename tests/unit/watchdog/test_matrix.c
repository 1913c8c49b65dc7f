/* A matrix of decisions: what fails, what health-watch knows of the unit's own listener, the state of the
 * unit, and whether there is a rogue. The pure functions judge each cell, from single tries to the decision.
 * The table says which backend is well. health-watch must not kill such a backend if it asks the listener.
 * tests/watch/test_matrix.py repeats many cells with real servers. */
#include "tests/unit/unit.h"

#include "watchdog/policy.h"

#include <stdio.h>
#include <string.h>

/* What health-watch knows of the listener. */
enum known {
    UNKNOWN, /* the watch file has no listener */
    NAMED,   /* the watch file has a listener */
    ASKED,   /* the watch file has a listener and a listener_protocol */
    DIRECT,  /* base_url is the unit's own socket, and the listener is asked in its protocol */
    BARE,    /* base_url is the unit's own socket, and only its queue of connections is watched */
    KNOWN_MAX
};

/* The truth about the backend, which decides the listener's answers. */
enum truth {
    WELL, /* it answers */
    DEAF, /* it accepts connections but does not answer: its workers hang */
    HUNG, /* it accepts no connection */
    GONE, /* it runs but does not listen */
};

struct row {
    const char *who;
    const char *tries; /* in the letters of results[] */
    enum truth truth;
    bool kill[KNOWN_MAX]; /* whether a running unit is killed if there is no rogue */
};

static const struct fetch_result results[] = {
    ['o'] = {.code = 200},
    ['e'] = {.code = 500},
    ['x'] = {.code = 503},
    ['l'] = {.code = 429},
    ['t'] = {.kind = FETCH_TIMEOUT},
    ['u'] = {.kind = FETCH_TIMEOUT, .unconnected = true},
    ['r'] = {.kind = FETCH_REFUSED},
    ['f'] = {.kind = FETCH_FULL},
    ['c'] = {.kind = FETCH_RESET},
    ['m'] = {.kind = FETCH_MALFORMED},
    ['b'] = {.code = 502},
    ['h'] = {.code = 504, .time_us = 300000},
    ['q'] = {.code = 504, .time_us = 4000},
    ['n'] = {.code = 500, .from_nginx = true},
    ['s'] = {.kind = FETCH_TIMEOUT, .time_us = 1000000, .late_ms = 900},
    ['d'] = {.kind = FETCH_UNRESOLVED},
    ['p'] = {.kind = FETCH_LOCAL},
    ['z'] = {.kind = FETCH_TLS},
};

static const struct row rows[] = {
    /* with a proxy in between                                           UNKNOWN NAMED ASKED */
    {"the proxy is dead", "rrr", WELL, {0, 0, 0}},
    {"the proxy dies during the first try", "crr", WELL, {0, 0, 0}},
    {"the proxy hangs in the first try and is then killed", "trr", WELL, {0, 0, 0}},
    {"the proxy hangs in two tries and is then killed", "ttr", WELL, {0, 0, 0}},
    {"the proxy starts again before the last try", "rrt", WELL, {0, 0, 0}},
    {"the proxy hangs", "ttt", WELL, {0, 0, 0}},
    {"the proxy's queue is full", "uuu", WELL, {0, 0, 0}},
    {"the proxy's Unix queue is full", "fff", WELL, {0, 0, 0}},
    {"the proxy has no connection left and closes", "ccc", WELL, {0, 0, 0}},
    {"the proxy has none left for the backend: 500", "nnn", WELL, {0, 0, 0}},
    {"the proxy's auth_request is dead: 500", "nnn", WELL, {0, 0, 0}},
    {"the proxy's auth_request hangs", "ttt", WELL, {0, 0, 0}},
    {"the proxy may not open the backend's socket", "bbb", WELL, {0, 0, 0}},
    {"the proxy asks another backend", "bbb", WELL, {0, 0, 0}},
    {"the proxy limits the rate", "l", WELL, {0, 0, 0}},
    {"the proxy does not speak HTTP", "m", WELL, {0, 0, 0}},
    {"the backend hangs, and the proxy reports it", "hhh", HUNG, {1, 1, 1}},
    {"the backend hangs, and the proxy waits for it", "ttt", HUNG, {0, 1, 1}},
    {"the backend hangs, and its queue is full", "bbb", HUNG, {0, 1, 1}},
    {"the workers hang, and the proxy reports it", "hhh", DEAF, {1, 1, 1}},
    {"the workers hang, and the proxy waits for them", "ttt", DEAF, {0, 0, 1}},
    {"the backend closes each connection", "bbb", DEAF, {0, 0, 1}},
    {"the backend does not listen", "bbb", GONE, {0, 1, 1}},
    {"the backend hangs, then the proxy dies", "hhr", HUNG, {0, 0, 0}},
    {"the backend hangs, and the proxy is dead", "rrr", HUNG, {0, 0, 0}},
    {"the backend hangs in one try", "ho", WELL, {0, 0, 0}},
    {"the backend hangs in two tries", "hho", WELL, {0, 0, 0}},
    {"the backend recovers after the last try", "hhh", WELL, {1, 1, 0}}, /* only ASKED notices */
    {"the backend is slow", "tto", WELL, {0, 0, 0}},
    {"the backend answers 500", "e", WELL, {0, 0, 0}},
    {"the backend answers 503", "x", WELL, {0, 0, 0}},
    {"the backend answers 429", "l", WELL, {0, 0, 0}},
    {"the backend is a gateway with a 504 of its own", "qqq", WELL, {0, 0, 0}},
    {"this machine is starved", "sss", WELL, {0, 0, 0}},
    {"this machine is starved in two tries of five", "tstst", WELL, {0, 0, 0}},
    {"the resolver is dead", "ddd", WELL, {0, 0, 0}},
    {"TLS fails", "z", WELL, {0, 0, 0}},
    {"the sandbox hides the socket", "ppp", WELL, {0, 0, 0}},
    /* without a proxy                                                           DIRECT */
    {"the unit hangs", "ttt", HUNG, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit hangs with a full queue", "uuu", HUNG, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit hangs with a full Unix queue", "fff", HUNG, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit's workers hang", "ttt", DEAF, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit does not listen", "rrr", GONE, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit closes each connection",
     "ccc",
     DEAF,
     {[DIRECT] = 1, [BARE] = 0}} /* an overloaded server does so, too */,
    {"the unit refuses, and listens after the last try", "rrr", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit is full for an instant in each try", "fff", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit sends a 502 of its own, then is slow", "bbt", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit sends a 504 of its own", "hhh", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit answers after the last try", "ttt", WELL, {[DIRECT] = 0, [BARE] = 1}},
    {"the unit answers 503", "x", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit is starved", "sss", WELL, {[DIRECT] = 0, [BARE] = 0}},
};

static const struct {
    const char *name;
    enum unit_load load;
    enum unit_state state;
} states[] = {
    {"running", UNIT_LOADED, UNIT_RUNNING},         {"starting", UNIT_LOADED, UNIT_STARTING},
    {"stopping", UNIT_LOADED, UNIT_STOPPING},       {"masked", UNIT_MASKED, UNIT_INACTIVE},
    {"masked, running", UNIT_MASKED, UNIT_RUNNING}, {"failed", UNIT_LOADED, UNIT_FAILED},
    {"restarting", UNIT_LOADED, UNIT_RESTARTING},   {"stopped", UNIT_LOADED, UNIT_INACTIVE},
    {"missing", UNIT_NOT_FOUND, UNIT_INACTIVE},
};

/* The judgement of a route that gets up to three tries. */
static struct judge_route after(const char *tries)
{
    struct watch_route route = {.path = (char[]){"/"}, .timeout_ms = 1500, .liveness = true};
    struct judge_route judged = {0};
    assert_true(value_parse_codes("200", &route.codes));
    for (; *tries != '\0' && !judged.is_final; tries++)
        judge_add(&judged, &route, &results[(unsigned char)*tries], 3);
    return judged;
}

/* What listener_ask would return: the queue of connections shows silence, and only the protocol shows
 * answers. */
static enum listener_answer answer_of(enum known known, enum truth truth)
{
    static const enum listener_answer by_queue[] = {[WELL] = LISTENER_ACCEPTS,
                                                    [DEAF] = LISTENER_ACCEPTS,
                                                    [HUNG] = LISTENER_SILENT,
                                                    [GONE] = LISTENER_GONE};
    static const enum listener_answer by_protocol[] = {[WELL] = LISTENER_ANSWERS,
                                                       [DEAF] = LISTENER_SILENT,
                                                       [HUNG] = LISTENER_SILENT,
                                                       [GONE] = LISTENER_GONE};
    if (known == NAMED || known == BARE)
        return by_queue[truth];
    return known == ASKED || known == DIRECT ? by_protocol[truth] : LISTENER_NOT_ASKED;
}

static enum policy_action decide(const struct row *row, enum known known, size_t state, bool rogue)
{
    static struct rogue_list rogues;
    struct watch_route route = {.liveness = true};
    struct watch watch = {.base_url = (char[]){"http://127.0.0.1"},
                          .listener = (char[]){"unix:/run/site.sock"},
                          .socket = {.len = known != UNKNOWN && known != BARE},
                          .protocol = known == ASKED || known == DIRECT ? WATCH_HTTP : WATCH_NOT_ASKED,
                          .routes = &route,
                          .route_count = 1,
                          .budget = 3,
                          .evict_rogue = true};
    struct unit_status unit = {.id = "site.service",
                               .load = states[state].load,
                               .state = states[state].state,
                               .main_pid = 4242,
                               .started_ms = HOUR_MS};
    struct state memory = {0};
    struct state_time now = {.boot_ms = HOUR_MS};
    struct judge_route judged = after(row->tries);
    struct policy_facts facts = {.watch = &watch,
                                 .evidence = judge_evidence(&watch, &judged),
                                 .tried_ms = 6500,
                                 .direct = known == DIRECT || known == BARE,
                                 .listener = answer_of(known, row->truth),
                                 .unit = &unit,
                                 .rogues = &rogues,
                                 .state = &memory,
                                 .now = &now};
    struct policy_decision decision;
    rogues.count = rogue;
    rogues.items[0] = (struct rogue){.holder = {.pid = 77777, .start_ticks = 1}, .is_holder = true};
    policy_decide(&facts, &decision);
    return decision.action;
}

static enum policy_action expected(const struct row *row, enum known known, size_t state, bool rogue)
{
    struct judge_route judged = after(row->tries);
    bool may_act = states[state].load == UNIT_LOADED && states[state].state != UNIT_STOPPING &&
                   states[state].state != UNIT_INACTIVE;
    if (!may_act)
        return POLICY_NOTHING;
    if (rogue)
        return POLICY_EVICT;
    if (states[state].state == UNIT_FAILED && judged.is_dead)
        return POLICY_START;
    return states[state].state == UNIT_RUNNING && row->kill[known] ? POLICY_KILL : POLICY_NOTHING;
}

static void each_decision_is_as_the_table_says(void **state)
{
    (void)state;
    size_t cells = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_direct = strncmp(rows[i].who, "the unit", 8) == 0;
        for (int known = is_direct ? DIRECT : UNKNOWN; known < (is_direct ? KNOWN_MAX : DIRECT); known++) {
            for (size_t s = 0; s < sizeof states / sizeof states[0]; s++) {
                for (int rogue = 0; rogue < 2; rogue++) {
                    enum policy_action action = decide(&rows[i], (enum known)known, s, rogue);
                    enum policy_action wanted = expected(&rows[i], (enum known)known, s, rogue);
                    if (action != wanted)
                        fail_msg("%s, known %d, unit %s, rogue %d: action %d, expected %d", rows[i].who,
                                 known, states[s].name, rogue, (int)action, (int)wanted);
                    cells++;
                }
            }
        }
    }
    assert_true(cells > 2000);
}

/* Goes through every sequence of tries for a backend that answers at its listener. If health-watch does not
 * ask the listener, it kills such a backend only after a proxy has reported that it hangs, and only if the
 * last try reached the proxy. */
static void no_sequence_of_tries_kills_a_backend_that_answers_at_its_listener(void **state)
{
    (void)state;
    static const char letters[] = "oexlturfcmbhqnsdpz";
    for (size_t i = 0; i < sizeof letters - 1; i++) {
        for (size_t j = 0; j < sizeof letters - 1; j++) {
            for (size_t k = 0; k < sizeof letters - 1; k++) {
                const char tries[] = {letters[i], letters[j], letters[k], '\0'};
                const struct row row = {.tries = tries, .truth = WELL};
                bool proxy_says_hung = strchr(tries, 'h') != NULL && strchr("rufc", letters[k]) == NULL;
                assert_int_not_equal(decide(&row, ASKED, 0, false), POLICY_KILL);
                assert_int_not_equal(decide(&row, DIRECT, 0, false), POLICY_KILL);
                if (!proxy_says_hung && (decide(&row, UNKNOWN, 0, false) == POLICY_KILL ||
                                         decide(&row, NAMED, 0, false) == POLICY_KILL))
                    fail_msg("%s: killed", tries);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_decision_is_as_the_table_says),
        cmocka_unit_test(no_sequence_of_tries_kills_a_backend_that_answers_at_its_listener),
    };
    return cmocka_run_group_tests_name("watch_matrix", tests, NULL, NULL);
}
