/* Fuzzes the gate before libfcgi: any bytes give the same result in pieces of any size, and libfcgi gets only
 * complete requests of bounded length. */
#include "cgi/serve/gate.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Appends to *out everything that the gate returned for the bytes. gives_up: the caller gives up each body as
 * soon as it may. */
static void walk(const uint8_t *data, size_t size, size_t piece, bool gives_up, struct buf *out)
{
    struct gate gate = {.max_connections = 256};
    enum gate_event event = GATE_MORE;

    for (size_t at = 0; at < size && event != GATE_REJECT;) {
        size_t n = piece < size - at ? piece : size - at;
        struct gate_result r = gate_take(&gate, data + at, n);
        event = r.event;
        if (r.taken == 0 || r.taken > n || (event == GATE_MORE && r.taken < n))
            abort();
        if (r.bytes.len > GATE_MAX_REQUEST || (event == GATE_WHOLE && r.bytes.len < 32))
            abort();
        if (event != GATE_MORE)
            buf_appendf(out, "%d%d%d%s", event, r.too_long, r.keep, r.why != NULL ? r.why : "");
        buf_append(out, r.bytes.data, r.bytes.len);
        buf_free(&r.bytes);
        at += r.taken;
        if (gives_up && event != GATE_REJECT && gate.stage == GATE_IN_BODY) {
            r = gate_give_up_body(&gate);
            if (r.event != GATE_WHOLE || gate.stage != GATE_BETWEEN || r.bytes.len < 32)
                abort();
            buf_free(&r.bytes);
        }
    }
    buf_appendf(out, "%d", gate.stage);
    gate_free(&gate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, cut = {0};
    if (size == 0)
        return 0;
    walk(data, size, size, false, &whole);
    walk(data, size, 1 + data[size - 1] % 20U, false, &cut);
    if (whole.len != cut.len || memcmp(whole.data, cut.data, whole.len) != 0)
        abort();
    buf_reset(&cut);
    walk(data, size, 1 + data[size - 1] % 20U, true, &cut);
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
