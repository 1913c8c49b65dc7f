/* JSON by json-c. Any thread; no state. */
#include "watchdog/json.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Bodies are cut at 64 KiB; one that nests deeper than this is no health document. */
#define DEPTH_MAX 32

static struct json_object *parse(const char *body, size_t len)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (tokener == NULL || len > INT_MAX) {
        json_tokener_free(tokener);
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *document = json_tokener_parse_ex(tokener, body, (int)len);
    /* A number or word at the very end waits for more; white space ends it. */
    if (document == NULL && json_tokener_get_error(tokener) == json_tokener_continue)
        document = json_tokener_parse_ex(tokener, "\n", 1);
    json_tokener_free(tokener);
    return document;
}

/* The value under "a.b.c"; false when there is none. JSON's null is NULL in json-c. */
static bool find(struct json_object *document, const char *key, struct json_object **out)
{
    char *path = mem_strdup(key);
    char *rest = NULL;
    bool found = true;
    *out = document;
    for (char *name = strtok_r(path, ".", &rest); name != NULL && found; name = strtok_r(NULL, ".", &rest))
        found = json_object_is_type(*out, json_type_object) && json_object_object_get_ex(*out, name, out);
    free(path);
    return found;
}

enum json_answer json_check(const char *body, size_t len, const char *key, const char *value)
{
    struct json_object *found;
    struct json_object *document = parse(body, len);
    enum json_answer answer = JSON_DIFFERS;
    if (document == NULL)
        return JSON_MALFORMED;
    if (!find(document, key, &found))
        answer = JSON_HAS_NONE;
    else if (strcmp(found != NULL ? json_object_get_string(found) : "null", value) == 0)
        answer = JSON_SAYS_SO;
    json_object_put(document);
    return answer;
}

void json_append_string(struct buf *out, const char *text)
{
    char *clean = mem_strdup(text);
    size_t len = 0;
    for (char *c = clean; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x7f)
            *c = '?';
    struct json_object *string = json_object_new_string(clean);
    const char *quoted = json_object_to_json_string_length(
        string, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    buf_append(out, quoted, len);
    json_object_put(string);
    free(clean);
}
