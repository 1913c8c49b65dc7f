/* Makes bytes from outside fit for a terminal or for JSON. Pure; any thread. */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stddef.h>

/* Returns the length of the valid UTF-8 character at s (RFC 3629, section 4), or 0 if there is none in the
 * next left bytes. A NUL ends the text, so it counts as none. */
size_t text_utf8_len(const char *s, size_t left);

/* Makes a text fit for one line: replaces control characters (C0, DEL, C1) and bytes that are not UTF-8 by
 * '?'. */
void text_clean(char *text);

#endif
