/* cgi/probe/silence: what begins, delays and ends the time in which a server owes an answer. */
#include "tests/unit/unit.h"

#include "cgi/probe/silence.h"
#include "common/clock.h"

#define T0           (INT64_C(77) * NS_PER_S)
#define AFTER_MS(ms) (T0 + (ms)*NS_PER_MS)
#define HUNG_MS      800
#define CONNECT_MS   1500

static struct silence s;

static int begin_test(void **state)
{
    (void)state;
    s = silence_none(HUNG_MS * NS_PER_MS, CONNECT_MS * NS_PER_MS, 2 * NS_PER_S);
    return 0;
}

#define quiet(f) cmocka_unit_test_setup(f, begin_test)

static void expect(int64_t suspicion_ns, int64_t conviction_ns)
{
    assert_true(silence_suspicion_ns(&s) == suspicion_ns);
    assert_true(silence_conviction_ns(&s) == conviction_ns);
}

static void without_a_question_there_is_no_silence(void **state)
{
    (void)state;
    expect(CLOCK_NEVER, CLOCK_NEVER);
    silence_hear(&s, AFTER_MS(10000));
    expect(CLOCK_NEVER, CLOCK_NEVER);
    assert_true(s.ended_ns == 0);
}

static void suspicion_comes_after_half_the_time_and_conviction_after_all_of_it(void **state)
{
    (void)state;
    silence_begin(&s, T0, AFTER_MS(7));
    expect(AFTER_MS(400), AFTER_MS(800));
}

static void a_silence_begins_once_and_not_in_the_future(void **state)
{
    (void)state;
    silence_begin(&s, AFTER_MS(1), T0);
    expect(CLOCK_NEVER, CLOCK_NEVER);
    silence_begin(&s, T0, T0);
    silence_begin(&s, AFTER_MS(100), AFTER_MS(100));
    expect(AFTER_MS(400), AFTER_MS(800));
}

static void bytes_delay_the_conviction_up_to_the_limit_of_a_login(void **state)
{
    (void)state;
    silence_begin(&s, T0, T0);
    silence_hear(&s, AFTER_MS(300));
    expect(AFTER_MS(700), AFTER_MS(1100));
    silence_hear(&s, AFTER_MS(200)); /* bytes on the other session */
    expect(AFTER_MS(700), AFTER_MS(1100));
    silence_hear(&s, AFTER_MS(690));
    assert_true(silence_conviction_ns(&s) == AFTER_MS(1490));
    silence_hear(&s, AFTER_MS(710));
    assert_true(silence_conviction_ns(&s) == AFTER_MS(1500));
    silence_hear(&s, AFTER_MS(1100));
    assert_true(silence_conviction_ns(&s) == AFTER_MS(1500));
    assert_true(s.ended_ns == 0); /* no gap was long enough */
}

static void a_hung_after_longer_than_a_login_applies_fully(void **state)
{
    (void)state;
    s = silence_none(5 * NS_PER_S, NS_PER_S, NS_PER_S);
    silence_begin(&s, T0, T0);
    expect(AFTER_MS(2500), AFTER_MS(5000));
}

static void a_long_gap_is_remembered_with_its_length(void **state)
{
    (void)state;
    silence_begin(&s, T0, T0);
    silence_hear(&s, AFTER_MS(400));
    assert_true(s.ended_ns == 0);
    silence_hear(&s, AFTER_MS(801));
    assert_true(s.ended_ns == AFTER_MS(801));
    assert_true(s.lasted_ns == 1 * NS_PER_MS);
    silence_end(&s, AFTER_MS(801));
    assert_true(s.ended_ns == AFTER_MS(801));
    silence_hear(&s, AFTER_MS(9000)); /* the server owed nothing */
    assert_true(s.ended_ns == AFTER_MS(801));
}

static void an_answer_ends_the_silence_and_the_conviction(void **state)
{
    (void)state;
    silence_begin(&s, T0, T0);
    silence_convict(&s, AFTER_MS(800));
    expect(AFTER_MS(400), AFTER_MS(2800)); /* another silence is another failure */
    silence_end(&s, AFTER_MS(900));
    assert_true(s.convicted_ns == 0);
    silence_begin(&s, AFTER_MS(100),
                  AFTER_MS(950)); /* a question of another session that is older than that answer */
    expect(AFTER_MS(1300), AFTER_MS(1700));
}

static void a_silence_begins_no_earlier_than_the_servers_last_message(void **state)
{
    (void)state;
    silence_begin(&s, T0, T0);
    silence_convict(&s, AFTER_MS(400));
    silence_interrupt(&s, AFTER_MS(500));
    assert_true(s.convicted_ns == 0);
    silence_begin(&s, T0, AFTER_MS(600));
    expect(AFTER_MS(900), AFTER_MS(1300));
}

static void our_own_stall_begins_the_silence_again_once(void **state)
{
    (void)state;
    silence_begin(&s, T0, T0);
    silence_forgive(&s, AFTER_MS(700));
    expect(AFTER_MS(1100), AFTER_MS(1500));
    silence_forgive(&s, AFTER_MS(1200));
    expect(AFTER_MS(1100), AFTER_MS(1500));
    silence_end(&s, AFTER_MS(1300));
    silence_forgive(&s, AFTER_MS(2000));
    expect(CLOCK_NEVER, CLOCK_NEVER);
    silence_begin(&s, AFTER_MS(1900), AFTER_MS(2000));
    expect(AFTER_MS(2400), AFTER_MS(2800));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quiet(without_a_question_there_is_no_silence),
        quiet(suspicion_comes_after_half_the_time_and_conviction_after_all_of_it),
        quiet(a_silence_begins_once_and_not_in_the_future),
        quiet(bytes_delay_the_conviction_up_to_the_limit_of_a_login),
        quiet(a_hung_after_longer_than_a_login_applies_fully),
        quiet(a_long_gap_is_remembered_with_its_length),
        quiet(an_answer_ends_the_silence_and_the_conviction),
        quiet(a_silence_begins_no_earlier_than_the_servers_last_message),
        quiet(our_own_stall_begins_the_silence_again_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
