/* Parses the values of a watch file that are not plain text. Each function is pure. */
#ifndef WATCHDOG_VALUE_H
#define WATCHDOG_VALUE_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>

#define VALUE_MAX_RANGES 8

/* The longest name of a unit, with its NUL (systemd, src/basic/unit-name.h: UNIT_NAME_MAX). */
#define VALUE_UNIT_SIZE 256

/* HTTP status codes as inclusive ranges. */
struct value_codes {
    size_t count;
    struct {
        int first;
        int last;
    } ranges[VALUE_MAX_RANGES];
};

/* Parses "200", "200-399" or "200,302,503"; codes are from 100 to 599. */
__attribute__((warn_unused_result)) bool value_parse_codes(const char *text, struct value_codes *out);
bool value_codes_contain(const struct value_codes *codes, int code);

/* Parses "http://HOST[:PORT][/PREFIX]", "https://..." or "unix:/PATH". Returns the URL without a slash at its
 * end, or "http://localhost" for a Unix path; the caller frees it. *unix_path points to the path in text, or
 * is NULL. Returns NULL for anything else, and for a URL with a user, because passwords do not belong in this
 * file. */
char *value_parse_url(const char *text, const char **unix_path);

/* Checks the name of a service and appends ".service" if it has no suffix, as systemctl(1) does. False: it is
 * not a valid name, names another kind of unit, or is a template without an instance. */
__attribute__((warn_unused_result)) bool value_parse_unit(const char *text, char out[static VALUE_UNIT_SIZE]);

/* The address of a URL that value_parse_url has returned. Its len is 0 if the host is a name other than
 * "localhost", since only a resolver knows the address of a name. */
struct address value_address_of(const char *url, const char *unix_path);

#endif
