/* The text of one failure. The function that fails fills it; its caller logs or prints it once. */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct error {
    char text[256];
};

/* Formats into err->text and cuts a text that is too long. */
__attribute__((format(printf, 2, 3))) static inline void error_set(struct error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
}

/* Formats "FILE:LINE: " and the message. The result is fit for a terminal and for JSON, whatever bytes the
 * name and the message have. */
__attribute__((format(printf, 4, 0))) void error_vset_at(struct error *err, const char *file, int line,
                                                         const char *format, va_list args);

#endif
