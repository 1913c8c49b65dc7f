/* Who fails, what is known of the unit's own listener, in which state the unit is, a rogue there or not: what
 * is done. Each cell is judged by the pure functions, from single answers to the decision; an oracle that
 * knows who is well sees that nobody who is gets killed. tests/watch/test_matrix.py has real servers for many
 * of them. */
#include "tests/unit/unit.h"

#include "watchdog/policy.h"

#include <stdio.h>
#include <string.h>

/* What is known of the listener. */
enum known {
    UNKNOWN, /* none is named */
    NAMED,   /* listener */
    ASKED,   /* listener and listener_protocol */
    DIRECT,  /* base_url is the unit's own socket, the listener is asked */
    BARE,    /* base_url is the unit's own socket, which is asked by its queue of connections */
    KNOWN_MAX
};

/* What the listener says to each question is the truth about the backend. */
enum truth {
    WELL, /* it answers */
    DEAF, /* it accepts and answers nobody: its workers hang */
    HUNG, /* it does not accept */
    GONE, /* it runs, and does not listen */
};

struct row {
    const char *who;
    const char *tries; /* by the letters of results[] */
    enum truth truth;
    bool kill[KNOWN_MAX]; /* for a unit that runs, without a rogue */
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
    /* behind a proxy                                                    UNKNOWN NAMED ASKED */
    {"the proxy is dead", "rrr", WELL, {0, 0, 0}},
    {"it dies in the first try", "crr", WELL, {0, 0, 0}},
    {"it hangs in the first try, then it is killed", "trr", WELL, {0, 0, 0}},
    {"it hangs twice, then it is killed", "ttr", WELL, {0, 0, 0}},
    {"it is started again too late", "rrt", WELL, {0, 0, 0}},
    {"it hangs", "ttt", WELL, {0, 0, 0}},
    {"its queue is full", "uuu", WELL, {0, 0, 0}},
    {"its Unix queue is full", "fff", WELL, {0, 0, 0}},
    {"it has no connection left and closes", "ccc", WELL, {0, 0, 0}},
    {"it has none left for the backend: its 500", "nnn", WELL, {0, 0, 0}},
    {"its auth_request is dead: its 500", "nnn", WELL, {0, 0, 0}},
    {"its auth_request hangs", "ttt", WELL, {0, 0, 0}},
    {"it may not open the backend's socket", "bbb", WELL, {0, 0, 0}},
    {"it names another backend", "bbb", WELL, {0, 0, 0}},
    {"it limits us", "l", WELL, {0, 0, 0}},
    {"it is no HTTP", "m", WELL, {0, 0, 0}},
    {"the backend hangs, the proxy says so", "hhh", HUNG, {1, 1, 1}},
    {"it hangs, the proxy is patient", "ttt", HUNG, {0, 1, 1}},
    {"it hangs, and its queue is full", "bbb", HUNG, {0, 1, 1}},
    {"its workers hang, the proxy says so", "hhh", DEAF, {1, 1, 1}},
    {"its workers hang, the proxy is patient", "ttt", DEAF, {0, 0, 1}},
    {"it closes each connection", "bbb", DEAF, {0, 0, 1}},
    {"it listens nowhere", "bbb", GONE, {0, 1, 1}},
    {"it hangs, and the proxy dies", "hhr", HUNG, {0, 0, 0}},
    {"it hangs, and the proxy is dead", "rrr", HUNG, {0, 0, 0}},
    {"it hangs once", "ho", WELL, {0, 0, 0}},
    {"it hangs twice", "hho", WELL, {0, 0, 0}},
    {"it recovers after the last try", "hhh", WELL, {1, 1, 0}}, /* nobody asked it again */
    {"it is slow", "tto", WELL, {0, 0, 0}},
    {"it answers 500", "e", WELL, {0, 0, 0}},
    {"it answers 503", "x", WELL, {0, 0, 0}},
    {"it answers 429", "l", WELL, {0, 0, 0}},
    {"it is a gateway, and answers 504 of its own", "qqq", WELL, {0, 0, 0}},
    {"this machine is starved", "sss", WELL, {0, 0, 0}},
    {"it is starved for two tries of five", "tstst", WELL, {0, 0, 0}},
    {"the resolver is dead", "ddd", WELL, {0, 0, 0}},
    {"TLS is wrong", "z", WELL, {0, 0, 0}},
    {"the socket is hidden from us", "ppp", WELL, {0, 0, 0}},
    /* asked directly                                                            DIRECT */
    {"the unit hangs", "ttt", HUNG, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit hangs with a full queue", "uuu", HUNG, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit hangs with a full Unix queue", "fff", HUNG, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit's workers hang", "ttt", DEAF, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit listens nowhere", "rrr", GONE, {[DIRECT] = 1, [BARE] = 1}},
    {"the unit closes each connection",
     "ccc",
     DEAF,
     {[DIRECT] = 1, [BARE] = 0}} /* a full server does, too */,
    {"the unit refuses, and listens after the last try", "rrr", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit is full for an instant in each try", "fff", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit answers 502 of its own, then is slow", "bbt", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit answers 504 of its own", "hhh", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit answers after the last try", "ttt", WELL, {[DIRECT] = 0, [BARE] = 1}},
    {"the unit answers 503", "x", WELL, {[DIRECT] = 0, [BARE] = 0}},
    {"the unit is starved", "sss", WELL, {[DIRECT] = 0, [BARE] = 0}},
};

static const struct {
    const char *name;
    enum unit_load load;
    enum unit_state state;
} states[] = {
    {"running", UNIT_LOADED, UNIT_RUNNING},       {"starting", UNIT_LOADED, UNIT_STARTING},
    {"stopping", UNIT_LOADED, UNIT_STOPPING},     {"masked", UNIT_MASKED, UNIT_INACTIVE},
    {"masked, runs", UNIT_MASKED, UNIT_RUNNING},  {"failed", UNIT_LOADED, UNIT_FAILED},
    {"restarting", UNIT_LOADED, UNIT_RESTARTING}, {"stopped", UNIT_LOADED, UNIT_INACTIVE},
    {"missing", UNIT_NOT_FOUND, UNIT_INACTIVE},
};

/* By the three tries of the file. */
static struct judge_route after(const char *tries)
{
    struct watch_route route = {.path = (char[]){"/"}, .timeout_ms = 1500, .liveness = true};
    struct judge_route judged = {0};
    assert_true(value_parse_codes("200", &route.codes));
    for (; *tries != '\0' && !judged.is_final; tries++)
        judge_add(&judged, &route, &results[(unsigned char)*tries], 3);
    return judged;
}

/* listener_ask, were it asked: silence by the queue of connections, answers by the protocol. */
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
    bool is_ours_to_touch = states[state].load == UNIT_LOADED && states[state].state != UNIT_STOPPING &&
                            states[state].state != UNIT_INACTIVE;
    if (!is_ours_to_touch)
        return POLICY_NOTHING;
    if (rogue)
        return POLICY_EVICT;
    if (states[state].state == UNIT_FAILED && judged.is_dead)
        return POLICY_START;
    return states[state].state == UNIT_RUNNING && row->kill[known] ? POLICY_KILL : POLICY_NOTHING;
}

static void each_cell_is_as_the_table_says(void **state)
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

/* Every sequence of tries, whatever it means, of a backend that answers at its listener. Where that is not
 * asked only the proxy's word that it hangs, the last contact with the proxy included, can be wrong about it.
 */
static void no_sequence_of_tries_kills_who_answers_at_its_listener(void **state)
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
        cmocka_unit_test(each_cell_is_as_the_table_says),
        cmocka_unit_test(no_sequence_of_tries_kills_who_answers_at_its_listener),
    };
    return cmocka_run_group_tests_name("watch_matrix", tests, NULL, NULL);
}
