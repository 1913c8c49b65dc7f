/* The gate before libfcgi: any bytes get a verdict, also when they come in pieces. */
#include "cgi/serve/gate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gate_result result;
    enum gate_verdict whole = gate_judge(data, size, &result);
    if (size > GATE_MAX_BYTES && whole != GATE_REJECT)
        abort();
    /* What is whole was incomplete before its last byte. */
    if (whole == GATE_WHOLE && size > 0 && gate_judge(data, size - 1, &result) != GATE_MORE)
        abort();
    return 0;
}
