/* Fuzzes the judgement of a response with any body; the first five bytes choose the rest of the response.
 * Also fuzzes the output of systemctl and the state file, because they come from outside, too. */
#include "watchdog/judge.h"
#include "watchdog/state.h"
#include "watchdog/unit.h"

#include <stdlib.h>
#include <string.h>

#define HEAD 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const uint8_t *head, const uint8_t *body, size_t len)
{
    struct watch_route route = {.path = (char[]){"/"},
                                .json_key = (head[0] & 1) != 0 ? (char[]){"a.b"} : NULL,
                                .json_value = (char[]){"1"}};
    struct fetch_result result = {
        .kind = (enum fetch_kind)(head[1] % (FETCH_LOCAL + 1)),
        .code = (int)head[2] * 3,
        .redirects = head[3] & 1,
        .time_us = 1000,
        .late_ms = (head[3] & 8) != 0 ? 1000 : 0,
        .unconnected = (head[3] & 16) != 0,
        .from_nginx = (head[3] & 2) != 0,
        .body_cut = (head[3] & 4) != 0,
    };
    struct judge_route judged = {0};
    if (!value_parse_codes((head[4] & 1) != 0 ? "200-599" : "200", &route.codes))
        abort();
    buf_append(&result.body, body, len);
    judge_add(&judged, &route, &result, 3);
    /* A route must never be both fine and dead, and never dead by our own fault. */
    if (judge_dead_tries(&judged) > 0 &&
        (judged.last.outcome == JUDGE_OK || judged.last.outcome == JUDGE_UNKNOWN ||
         judged.last.outcome == JUDGE_LIMITED || result.redirects > 0 || result.late_ms > 0))
        abort();
    buf_free(&result.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct unit_status status;
    struct state state;
    struct error err;
    if (size < HEAD)
        return 0;
    judge(data, data + HEAD, size - HEAD);
    char *text = mem_calloc(size - HEAD + 1, 1);
    memcpy(text, data + HEAD, size - HEAD);
    (void)!unit_parse(text, 1000000, &status, &err);
    (void)unit_parse_pressure(text, "full");
    (void)!state_parse(text, size - HEAD, &state);
    free(text);
    return 0;
}
