/* Reads a checks file at a path: at once, or on a thread of its own. */
#ifndef CGI_CHECKSFILE_H
#define CGI_CHECKSFILE_H

#include "cgi/checks.h"
#include "cgi/errand.h"

/* Returns what checks_parse returns. Blocks for as long as the file system does. Any thread. */
__attribute__((warn_unused_result)) bool checksfile_read(const char *path, struct checks *out,
                                                         struct error *err);

/* Starts to read the file in an errand, because a network file system may hang. path must outlive the errand.
 * NULL: err says why; the system has no thread or descriptor left. */
struct errand *checksfile_start(const char *path, struct error *err);

/* Returns what checksfile_read returned in the errand. Call it once, after the errand has ended. */
__attribute__((warn_unused_result)) bool checksfile_take(struct errand *reading, struct checks *out,
                                                         struct error *err);

#endif
