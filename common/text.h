/* Bytes from outside on their way to a terminal or into JSON. Pure; any thread. */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stddef.h>

/* The length of the valid UTF-8 character at s (RFC 3629, section 4), of which left bytes are there; 0 when
 * there is none. NUL is none of a text. */
size_t text_utf8_len(const char *s, size_t left);

/* Makes a text fit to be printed on one line: control characters (C0, DEL, C1) and what is no UTF-8 become
 * '?'. */
void text_clean(char *text);

#endif
