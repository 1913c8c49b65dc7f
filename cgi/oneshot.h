/* One probe, one answer, no loop: a CGI request, or --once. Main thread, no other. */
#ifndef CGI_ONESHOT_H
#define CGI_ONESHOT_H

#include "cgi/checks.h"
#include "cgi/config.h"

/* Answers the request in the environment (RFC 3875) on stdout. Returns the exit code: 0, or 1 when stdout did
 * not take the answer; the health is in the answer, for a web server would take another code for a crash. */
int oneshot_cgi(const struct config *config, const struct checks *checks);

/* Answers a CGI request when there is no usable configuration: 503, internal. What is wrong is for the log
 * only. */
void oneshot_cgi_unconfigured(void);

/* Prints the /api/health document. Returns 0 healthy, 1 degraded (or stdout did not take it). */
int oneshot_print(const struct config *config, const struct checks *checks);

#endif
