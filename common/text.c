/* Checks UTF-8 by a table, without a locale. Any thread; no state. */
#include "common/text.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

size_t text_utf8_len(const char *text, size_t left)
{
    static const struct {
        unsigned char lead_min, lead_max, second_min, second_max, len;
    } forms[] = {
        {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
        {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
        {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };
    const unsigned char *s = (const unsigned char *)text;
    if (left == 0)
        return 0;
    if (s[0] < 0x80)
        return s[0] != '\0';
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (s[0] < forms[i].lead_min || s[0] > forms[i].lead_max)
            continue;
        bool ok = left >= forms[i].len && s[1] >= forms[i].second_min && s[1] <= forms[i].second_max;
        for (size_t k = 2; ok && k < forms[i].len; k++)
            ok = (s[k] & 0xC0) == 0x80;
        return ok ? forms[i].len : 0;
    }
    return 0;
}

void text_clean(char *text)
{
    size_t len;
    for (char *c = text; *c != '\0'; c += len) {
        len = text_utf8_len(c, strlen(c));
        bool c1 = len == 2 && (unsigned char)c[0] == 0xC2 && (unsigned char)c[1] < 0xA0;
        if (len == 0 || iscntrl((unsigned char)*c) || c1)
            *c = '?';
        len = len == 0 || c1 ? 1 : len;
    }
}
