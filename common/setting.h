/* A table of settings: one row says how to read, check, store, print and explain a value. Pure but for the
 * printing; any thread. */
#ifndef COMMON_SETTING_H
#define COMMON_SETTING_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a value is, and which type its field has. */
enum setting_kind {
    SETTING_TEXT,     /* const char *: the value itself, which must live as long as the field */
    SETTING_DURATION, /* int64_t, ms */
    SETTING_COUNT,    /* int64_t */
    SETTING_MODE,     /* int64_t, octal */
    SETTING_WORD,     /* an enum, or an unsigned int: the index of the value in words */
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;        /* of its field in the struct that the table describes */
    const char *fallback; /* the value when none is given; NULL: the field keeps what it has */
    int64_t min, max;     /* of SETTING_WORD the first and last index */
    const char *meaning;
    const char *fallback_help;          /* what --help shows instead of fallback */
    const char *note;                   /* of SETTING_COUNT: an error shows it after the range */
    const char *const *words;           /* of SETTING_WORD */
    const char *(*check)(const char *); /* of SETTING_TEXT: NULL, or what it expected; NULL: any text */
};

/* Returns the row of that name, or NULL. */
const struct setting *setting_find(const struct setting *rows, size_t count, const char *name,
                                   size_t name_len);

/* Stores value in the row's field of *into. False: nothing is stored, and expected says what such a value
 * looks like, with its range. */
__attribute__((warn_unused_result)) bool setting_set(const struct setting *row, const char *value, void *into,
                                                     struct error *expected);

/* Stores the fallback of each row that has one. */
void setting_set_fallbacks(const struct setting *rows, size_t count, void *into);

/* Writes the value of the row's field of *from as a user would write it; "" for a text that is NULL. */
void setting_format(const struct setting *row, const void *from, char *out, size_t out_size);

/* Prints a line of --help for each row: name, fallback, meaning. */
void setting_print(const struct setting *rows, size_t count, FILE *out);

#endif
