/* What the watchdog needs of JSON, and the only file that knows the library. Pure. */
#ifndef WATCHDOG_JSON_H
#define WATCHDOG_JSON_H

#include <stddef.h>

enum json_answer {
    JSON_MATCHES,   /* the value is there and as expected */
    JSON_DIFFERS,   /* it has another value */
    JSON_MISSING,   /* no such key */
    JSON_MALFORMED, /* no JSON document, or nested too deep */
};

/* Whether body[0..len), untrusted bytes, has value under key: "a.b" is b in the object a, "a.0" the first of
 * the array a. A string is compared without its quotes, numbers, true, false and null as they are written. */
enum json_answer json_check(const char *body, size_t len, const char *key, const char *value);

#endif
