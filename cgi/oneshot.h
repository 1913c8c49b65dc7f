/* One probe and one response, without a loop: for a CGI request and for --once. Main thread only. */
#ifndef CGI_ONESHOT_H
#define CGI_ONESHOT_H

#include "cgi/checks.h"
#include "cgi/config.h"

/* Answers the request in the environment (RFC 3875) on stdout. Returns the exit code: 0, or 1 when stdout did
 * not take the response. A degraded database also gives 0, because a web server takes a 1 for a crash. */
int oneshot_cgi(const struct config *config, const struct checks *checks);

/* Answers a CGI request with 503 internal when the configuration is not usable. The log has the error. */
void oneshot_cgi_unconfigured(void);

/* Prints the /api/health document for argument: "?QUERY", or NULL for all of it. Returns the exit code: 0 for
 * healthy; 1 for degraded, or when stdout did not take the document; EX_USAGE when the argument is wrong, and
 * then stderr says why. */
int oneshot_print(const struct config *config, const struct checks *checks, const char *argument);

#endif
