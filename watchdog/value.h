/* The values of a watch file that are no plain text: one pure function each, from a word to data. */
#ifndef WATCHDOG_VALUE_H
#define WATCHDOG_VALUE_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>

#define VALUE_MAX_RANGES 8

/* A unit's name and its NUL (systemd, src/basic/unit-name.h: UNIT_NAME_MAX). */
#define VALUE_UNIT_SIZE 256

/* HTTP status codes as inclusive ranges. */
struct value_codes {
    size_t count;
    struct {
        int first;
        int last;
    } ranges[VALUE_MAX_RANGES];
};

/* "200", "200-399" or "200,302,503"; codes from 100 to 599. */
__attribute__((warn_unused_result)) bool value_parse_codes(const char *text, struct value_codes *out);
bool value_codes_contain(const struct value_codes *codes, int code);

/* "http://HOST[:PORT][/PREFIX]", "https://..." or "unix:/PATH". Returns the URL without a slash at its end,
 * for a Unix path "http://localhost"; the caller frees it. *unix_path is that path in text, else NULL. NULL
 * for anything else: a user in the URL is refused too, for this file is no place for passwords. */
char *value_parse_url(const char *text, const char **unix_path);

/* A name that systemd takes for a service; without a suffix it gets ".service" as with systemctl(1). False:
 * none, the name of another kind of unit, or a template without its instance. */
__attribute__((warn_unused_result)) bool value_parse_unit(const char *text, char out[static VALUE_UNIT_SIZE]);

/* The address of what value_parse_url has returned. None where the host is a name other than "localhost":
 * whose it is cannot be told without asking a resolver. */
struct address value_address_of(const char *url, const char *unix_path);

#endif
