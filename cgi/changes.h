/* What a new checks file changes, for the log. Pure. */
#ifndef CGI_CHANGES_H
#define CGI_CHANGES_H

#include "cgi/checks.h"
#include "common/buf.h"

/* Names of checks, separated by spaces, in the order of their file. Empty: data is "". */
struct changes {
    struct buf added;
    struct buf removed;
    struct buf changed; /* the same name with another query or another annotation */
};

/* The caller frees with changes_free. */
void changes_find(const struct checks *before, const struct checks *after, struct changes *out);
void changes_free(struct changes *changes);

#endif
