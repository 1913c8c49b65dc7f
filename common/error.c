/* Formats errors that name a place in a file. Any thread; no state. */
#include "common/error.h"

#include "common/text.h"

#include <string.h>

/* A longer name keeps its end, which says more than its start. */
#define FILE_NAME_MAX 96

void error_vset_at(struct error *err, const char *file, int line, const char *format, va_list args)
{
    size_t file_len = strlen(file);
    bool cut = file_len > FILE_NAME_MAX;
    char message[sizeof err->text];

    vsnprintf(message, sizeof message, format, args);
    error_set(err, "%s%s:%d: %s", cut ? "..." : "", cut ? file + file_len - FILE_NAME_MAX : file, line,
              message);
    text_clean(err->text);
}
