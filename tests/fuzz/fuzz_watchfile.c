/* Fuzzes the parser of the watch file: any bytes give a struct or an error. */
#include "watchdog/watchfile.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct watch watch;
    struct error err = {0};
    if (watchfile_parse((const char *)data, size, "fuzz.conf", &watch, &err)) {
        if (watch.route_count == 0 || watch.base_url == NULL || watch.tries < 1)
            abort();
        watchfile_free(&watch);
    } else if (err.text[0] == '\0' || watch.routes != NULL) {
        abort();
    }
    return 0;
}
