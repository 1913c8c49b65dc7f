/* Counts failures and successes in a row. Pure. */
#include "cgi/probe/streak.h"

bool streak_count(struct streak *s, enum reason reason, struct streak_limits limits, int64_t now_ns)
{
    const struct streak before = *s;
    bool passed = reason == REASON_NONE;
    bool is_first = passed ? s->passes == 0 : s->fails == 0;

    if (!passed)
        s->reason = reason;
    if (is_first || now_ns - s->counted_ns >= limits.interval_ns * 9 / 10) {
        s->passes = passed ? s->passes + 1 : 0;
        s->fails = passed ? 0 : s->fails + 1;
        s->counted_ns = now_ns;
    }
    if (passed && (!s->known || s->passes >= limits.rise))
        s->down = false;
    if (!passed && (!s->known || s->fails >= limits.fall))
        s->down = true;
    s->known = true;
    return s->down != before.down || !before.known;
}
