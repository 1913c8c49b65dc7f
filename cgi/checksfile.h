/* Reads a checks file at a path: at once, or on a thread of its own. */
#ifndef CGI_CHECKSFILE_H
#define CGI_CHECKSFILE_H

#include "cgi/checks.h"
#include "cgi/errand.h"

/* As checks_parse; blocks for as long as the file system does. Any thread. */
__attribute__((warn_unused_result)) bool checksfile_read(const char *path, struct checks *out,
                                                         struct error *err);

/* Starts to read it elsewhere: a file system of the network may hang. path must outlive the errand. NULL with
 * err: no thread or descriptor is left. */
struct errand *checksfile_start(const char *path, struct error *err);

/* Of a reading that has ended what checksfile_read says; once. */
__attribute__((warn_unused_result)) bool checksfile_take(struct errand *reading, struct checks *out,
                                                         struct error *err);

#endif
