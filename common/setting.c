/* Reads, checks, stores and prints settings by the rows of their table. Any thread; no state. */
#include "common/setting.h"

#include "common/quantity.h"

#include <inttypes.h>
#include <string.h>

const struct setting *setting_find(const struct setting *rows, size_t count, const char *name,
                                   size_t name_len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(rows[i].name) == name_len && memcmp(rows[i].name, name, name_len) == 0)
            return &rows[i];
    return NULL;
}

static bool parse_word(const struct setting *row, const char *text, int64_t *out)
{
    for (*out = row->min; *out <= row->max; ++*out)
        if (strcmp(row->words[*out], text) == 0)
            return true;
    return false;
}

static bool parse_number(const struct setting *row, const char *text, int64_t *out)
{
    const char *rest;
    if (row->kind == SETTING_WORD)
        return parse_word(row, text, out);
    bool ok = row->kind == SETTING_DURATION ? quantity_parse_duration(text, out)
              : row->kind == SETTING_MODE   ? quantity_parse_digits(text, 8, out, &rest) && *rest == '\0'
                                            : quantity_parse_count(text, out);
    return ok && *out >= row->min && *out <= row->max;
}

static void list_words(const struct setting *row, struct error *out)
{
    size_t used = 0;
    for (int64_t i = row->min; i <= row->max && used < sizeof out->text; i++)
        used += (size_t)snprintf(out->text + used, sizeof out->text - used, "%s%s", row->words[i],
                                 i == row->max       ? ""
                                 : i + 1 == row->max ? " or "
                                                     : ", ");
}

static void describe_expected(const struct setting *row, struct error *out)
{
    char low[32];
    char high[32];
    switch (row->kind) {
    case SETTING_DURATION:
        quantity_format_duration(row->min, low, sizeof low);
        quantity_format_duration(row->max, high, sizeof high);
        error_set(out, "a duration with its unit (800ms, 2s, 1m, 1h) from %s to %s", low, high);
        break;
    case SETTING_COUNT:
        error_set(out, "a number from %" PRId64 " to %" PRId64 "%s", row->min, row->max,
                  row->note != NULL ? row->note : "");
        break;
    case SETTING_MODE: error_set(out, "an octal mode from 0 to %04" PRIo64, (uint64_t)row->max); break;
    case SETTING_WORD: list_words(row, out); break;
    case SETTING_TEXT: break;
    }
}

bool setting_set(const struct setting *row, const char *value, void *into, struct error *expected)
{
    char *field = (char *)into + row->offset;
    int64_t number = 0;
    if (row->kind == SETTING_TEXT) {
        const char *wrong = row->check != NULL ? row->check(value) : NULL;
        if (wrong == NULL)
            memcpy(field, &value, sizeof value);
        else
            error_set(expected, "%s", wrong);
        return wrong == NULL;
    }
    if (!parse_number(row, value, &number)) {
        describe_expected(row, expected);
        return false;
    }
    const unsigned int word = (unsigned int)number;
    if (row->kind == SETTING_WORD)
        memcpy(field, &word, sizeof word);
    else
        memcpy(field, &number, sizeof number);
    return true;
}

void setting_set_fallbacks(const struct setting *rows, size_t count, void *into)
{
    struct error expected = {0};
    for (size_t i = 0; i < count; i++)
        if (rows[i].fallback != NULL)
            (void)!setting_set(&rows[i], rows[i].fallback, into, &expected);
}

void setting_format(const struct setting *row, const void *from, char *out, size_t out_size)
{
    const char *field = (const char *)from + row->offset;
    const char *text = NULL;
    unsigned int word = 0;
    int64_t number = 0;
    if (row->kind == SETTING_TEXT)
        memcpy(&text, field, sizeof text);
    else if (row->kind == SETTING_WORD)
        memcpy(&word, field, sizeof word);
    else
        memcpy(&number, field, sizeof number);
    switch (row->kind) {
    case SETTING_TEXT: snprintf(out, out_size, "%s", text != NULL ? text : ""); break;
    case SETTING_DURATION: quantity_format_duration(number, out, out_size); break;
    case SETTING_COUNT: snprintf(out, out_size, "%" PRId64, number); break;
    case SETTING_MODE: snprintf(out, out_size, "%04" PRIo64, (uint64_t)number); break;
    case SETTING_WORD: snprintf(out, out_size, "%s", row->words[word]); break;
    }
}

static const char *shown_fallback(const struct setting *row)
{
    const char *shown = row->fallback_help != NULL ? row->fallback_help : row->fallback;
    return shown != NULL ? shown : "-";
}

void setting_print(const struct setting *rows, size_t count, FILE *out)
{
    size_t name_width = 0;
    size_t fallback_width = 0;
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strlen(rows[i].name);
        size_t fallback_len = strlen(shown_fallback(&rows[i]));
        name_width = name_len > name_width ? name_len : name_width;
        fallback_width = fallback_len > fallback_width ? fallback_len : fallback_width;
    }
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %-*s  %-*s  %s\n", (int)name_width, rows[i].name, (int)fallback_width,
                shown_fallback(&rows[i]), rows[i].meaning);
}
