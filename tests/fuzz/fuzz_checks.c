/* Fuzzes the parser of the checks file: any bytes give checks or an error. */
#include "cgi/checks.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checks checks;
    struct error err = {0};
    if (checks_parse((const char *)data, size, "fuzz.sql", &checks, &err)) {
        if (checks.count == 0)
            abort();
        checks_free(&checks);
    } else if (err.text[0] == '\0' || checks.items != NULL) {
        abort();
    }
    return 0;
}
