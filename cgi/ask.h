/* Asks the instance that runs for one document, over FastCGI at its own socket: --ask. Main thread only. */
#ifndef CGI_ASK_H
#define CGI_ASK_H

/* Prints the document that a program listening at HEALTH_LISTEN (else CONFIG_DEFAULT_LISTEN) gives for the
 * argument: "/PATH", "/PATH?QUERY", "?QUERY" of /api/health, or NULL for /api/health. Reads no other setting,
 * and waits two seconds at most for the answer. It asks as an operator (AUDIENCE=operator), because whoever
 * may open the socket may see everything.
 *
 * Returns the exit code. If it is not 0 or 1, stderr says why and what to do. 0: the status is 2xx. 1: it is
 * another one, or stdout did not take the document. EX_USAGE: the argument is wrong. EX_UNAVAILABLE: there is
 * no whole answer. EX_CONFIG: HEALTH_LISTEN is wrong. */
int ask_print(const char *argument);

#endif
