/* Computes when to suspect and to convict a silent server. Bytes delay a conviction, because a login over a
 * slow network takes long; but only up to the limit of a login, because PgBouncer lets us in while the server
 * is frozen. Runs on the prober thread; owns nothing. */
#include "cgi/probe/silence.h"

#include "common/clock.h"

struct silence silence_none(int64_t hung_after_ns, int64_t connect_timeout_ns, int64_t repeat_ns)
{
    return (struct silence){.hung_after_ns = hung_after_ns,
                            .repeat_ns = repeat_ns,
                            .longest_ns = clock_max(hung_after_ns, connect_timeout_ns),
                            .since_ns = CLOCK_NEVER};
}

void silence_begin(struct silence *s, int64_t since_ns, int64_t now_ns)
{
    since_ns = clock_max(since_ns, s->not_before_ns);
    if (s->since_ns == CLOCK_NEVER && since_ns <= now_ns)
        s->since_ns = since_ns;
}

void silence_hear(struct silence *s, int64_t heard_ns)
{
    int64_t suspicion_ns = silence_suspicion_ns(s);
    if (heard_ns > suspicion_ns) {
        s->lasted_ns = heard_ns - suspicion_ns;
        s->ended_ns = heard_ns;
    }
    s->heard_ns = clock_max(s->heard_ns, heard_ns);
}

void silence_interrupt(struct silence *s, int64_t now_ns)
{
    s->since_ns = CLOCK_NEVER;
    s->convicted_ns = 0;
    s->not_before_ns = now_ns;
}

void silence_end(struct silence *s, int64_t now_ns)
{
    silence_interrupt(s, now_ns);
    s->is_forgiven = false;
}

void silence_forgive(struct silence *s, int64_t now_ns)
{
    if (s->is_forgiven)
        return;
    s->is_forgiven = true;
    s->not_before_ns = now_ns;
    if (s->since_ns != CLOCK_NEVER)
        s->since_ns = now_ns;
}

void silence_convict(struct silence *s, int64_t now_ns)
{
    s->convicted_ns = now_ns;
}

int64_t silence_suspicion_ns(const struct silence *s)
{
    return s->since_ns == CLOCK_NEVER ? CLOCK_NEVER
                                      : clock_max(s->since_ns, s->heard_ns) + s->hung_after_ns / 2;
}

int64_t silence_conviction_ns(const struct silence *s)
{
    if (s->since_ns == CLOCK_NEVER)
        return CLOCK_NEVER;
    if (s->convicted_ns != 0)
        return s->convicted_ns + s->repeat_ns;
    return clock_min(clock_max(s->since_ns, s->heard_ns) + s->hung_after_ns, s->since_ns + s->longest_ns);
}
