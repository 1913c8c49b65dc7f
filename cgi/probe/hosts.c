/* Lists of hosts, addresses and ports as in a libpq connection string. */
#include "cgi/probe/hosts.h"

#include <string.h>

size_t hosts_count(const char *list)
{
    size_t count = 1;
    for (const char *c = list; *c != '\0'; c++)
        count += *c == ',' ? 1 : 0;
    return count;
}

static const char *find_entry(const char *list, size_t index)
{
    for (; index > 0; index--)
        list = strchr(list, ',') + 1;
    return list;
}

void hosts_rotate(const char *list, size_t offset, struct buf *out)
{
    const char *first = find_entry(list, offset % hosts_count(list));

    buf_append_str(out, first);
    if (first > list) {
        buf_append(out, ",", 1);
        buf_append(out, list, (size_t)(first - list) - 1);
    }
}
