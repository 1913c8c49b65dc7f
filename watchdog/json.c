/* Parses a body with json-c and finds a value in it. Any thread; owns nothing. */
#include "watchdog/json.h"

#include "common/buf.h"
#include "common/quantity.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* No health document nests deeper than this. */
#define DEPTH_MAX 32

static struct json_object *parse_document(const char *body, size_t len)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (tokener == NULL || len > INT_MAX) {
        json_tokener_free(tokener);
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *document = json_tokener_parse_ex(tokener, body, (int)len);
    /* json-c waits for more after a number or word at the very end; white space ends that. */
    if (document == NULL && json_tokener_get_error(tokener) == json_tokener_continue)
        document = json_tokener_parse_ex(tokener, "\n", 1);
    json_tokener_free(tokener);
    return document;
}

/* json-c cuts a key at its first NUL, so it takes "status\u0000x" for "status". */
static bool has_nul(const char *body, size_t len, const char *name)
{
    struct buf escaped = {0};
    buf_appendf(&escaped, "\"%s\\u0000", name);
    bool found = memmem(body, len, escaped.data, escaped.len) != NULL;
    buf_free(&escaped);
    return found;
}

/* A string that contains a NUL never matches. */
static bool is_value(struct json_object *found, const char *value)
{
    const char *text = found != NULL ? json_object_get_string(found) : "null";
    bool is_whole = !json_object_is_type(found, json_type_string) ||
                    (size_t)json_object_get_string_len(found) == strlen(value);
    return is_whole && strcmp(text, value) == 0;
}

/* The member of an object, or the item of an array by its number. */
static bool descend(struct json_object *in, const char *name, struct json_object **out)
{
    int64_t index;
    if (json_object_is_type(in, json_type_object))
        return json_object_object_get_ex(in, name, out);
    if (!json_object_is_type(in, json_type_array) || !quantity_parse_count(name, &index) ||
        (size_t)index >= json_object_array_length(in))
        return false;
    *out = json_object_array_get_idx(in, (size_t)index);
    return true;
}

/* Finds the value under a key such as "a.b.c". json-c represents null as NULL. */
static bool find_value(struct json_object *document, const char *body, size_t len, const char *key,
                       struct json_object **out)
{
    char *path = mem_strdup(key);
    char *rest = NULL;
    bool found = true;
    *out = document;
    for (char *name = strtok_r(path, ".", &rest); name != NULL && found; name = strtok_r(NULL, ".", &rest))
        found = !has_nul(body, len, name) && descend(*out, name, out);
    free(path);
    return found;
}

enum json_answer json_check(const char *body, size_t len, const char *key, const char *value)
{
    struct json_object *found;
    struct json_object *document = memchr(body, '\0', len) == NULL ? parse_document(body, len) : NULL;
    enum json_answer answer = JSON_DIFFERS;
    if (document == NULL)
        return JSON_MALFORMED;
    if (!find_value(document, body, len, key, &found))
        answer = JSON_MISSING;
    else if (is_value(found, value))
        answer = JSON_MATCHES;
    json_object_put(document);
    return answer;
}
