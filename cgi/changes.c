/* Compares two lists of checks by name. */
#include "cgi/changes.h"

#include <string.h>

static const struct check *find(const struct checks *checks, const char *name)
{
    for (size_t i = 0; i < checks->count; i++)
        if (strcmp(checks->items[i].name, name) == 0)
            return &checks->items[i];
    return NULL;
}

static bool is_same(const struct check *a, const struct check *b)
{
    return strcmp(a->sql, b->sql) == 0 && a->every_ms == b->every_ms && a->timeout_ms == b->timeout_ms &&
           a->min == b->min && a->max == b->max && a->severity == b->severity;
}

static void add_name(struct buf *names, const char *name)
{
    if (names->len > 0)
        buf_append(names, " ", 1);
    buf_append_str(names, name);
}

void changes_find(const struct checks *before, const struct checks *after, struct changes *out)
{
    *out = (struct changes){0};
    buf_append_str(&out->added, "");
    buf_append_str(&out->removed, "");
    buf_append_str(&out->changed, "");
    for (size_t i = 0; i < after->count; i++) {
        const struct check *check = &after->items[i];
        const struct check *old = find(before, check->name);
        if (old == NULL)
            add_name(&out->added, check->name);
        else if (!is_same(old, check))
            add_name(&out->changed, check->name);
    }
    for (size_t i = 0; i < before->count; i++)
        if (find(after, before->items[i].name) == NULL)
            add_name(&out->removed, before->items[i].name);
}

void changes_free(struct changes *changes)
{
    buf_free(&changes->added);
    buf_free(&changes->removed);
    buf_free(&changes->changed);
}
