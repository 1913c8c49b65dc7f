/* Compares one value of a JSON body with an expected text. Pure. */
#ifndef WATCHDOG_JSON_H
#define WATCHDOG_JSON_H

#include <stddef.h>

enum json_answer {
    JSON_MATCHES,
    JSON_DIFFERS,   /* the key has another value */
    JSON_MISSING,   /* the body has no such key */
    JSON_MALFORMED, /* the body is not a JSON document, or is nested too deep */
};

/* Whether body[0..len), which may be any bytes, has value under key. The key "a.b" means b in the object a;
 * "a.0" means the first item of the array a. A string is compared without its quotes; a number, true, false
 * and null as they are written. */
enum json_answer json_check(const char *body, size_t len, const char *key, const char *value);

#endif
