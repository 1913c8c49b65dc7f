/* A table of settings: one row says how a value is read, checked, stored, printed and explained. Pure but for
 * the printing; any thread. */
#ifndef COMMON_SETTING_H
#define COMMON_SETTING_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a value is, and the type of the field that it is stored in. */
enum setting_kind {
    SETTING_TEXT,     /* const char *, the value itself: it must live as long as the field */
    SETTING_DURATION, /* int64_t, ms */
    SETTING_COUNT,    /* int64_t */
    SETTING_MODE,     /* int64_t, octal */
    SETTING_WORD,     /* an enum, or an unsigned int: the index of the value in words */
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;        /* of its field in the struct that the table is for */
    const char *fallback; /* the value when none is given; NULL: the field is left as it is */
    int64_t min, max;     /* of words the first and the last */
    const char *meaning;
    const char *fallback_help;          /* what --help shows instead of fallback */
    const char *note;                   /* of a count, after the range in an error */
    const char *const *words;           /* of SETTING_WORD */
    const char *(*check)(const char *); /* of SETTING_TEXT: NULL, or what was expected; NULL: anything goes */
};

/* The row of that name, NULL when there is none. */
const struct setting *setting_find(const struct setting *rows, size_t count, const char *name,
                                   size_t name_len);

/* Stores value in the row's field of *into. False: nothing is stored, and expected says what such a value is,
 * its range included. */
__attribute__((warn_unused_result)) bool setting_set(const struct setting *row, const char *value, void *into,
                                                     struct error *expected);

/* Stores every fallback that there is. */
void setting_set_fallbacks(const struct setting *rows, size_t count, void *into);

/* The value of the row's field of *from as it would be written; "" for a text that is NULL. */
void setting_format(const struct setting *row, const void *from, char *out, size_t out_size);

/* For --help, a line for each row: name, fallback, meaning. */
void setting_print(const struct setting *rows, size_t count, FILE *out);

#endif
