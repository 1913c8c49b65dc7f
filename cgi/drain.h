/* The drain by hand: while a file exists, this process answers 503 `draining`. An errand looks for the file,
 * because its file system may hang. Main thread. */
#ifndef CGI_DRAIN_H
#define CGI_DRAIN_H

#include "cgi/config.h"

#include <stdbool.h>
#include <stdint.h>

/* Descriptors that stay open: the one of the errand. */
#define DRAIN_FDS 1

struct drain;

/* Chooses the file: HEALTH_DRAIN_FILE if it is set, else `drain` in the directory of the Unix socket that
 * listener_fd listens at. There is no file if that is no Unix socket with an absolute path, if the socket
 * itself has this name, or if every user may create files in that directory. Then looks for the file. Waits
 * for a second at most, and logs it if the file cannot be looked for. */
struct drain *drain_open(const struct config *config, int listener_fd, int64_t now_ns);

/* From now on the errand goes on looking, twice a second, and the log says when the drain begins and ends.
 * The epoll set reports a change with the drain as the tag. Call it once. */
void drain_watch(struct drain *drain, int epoll_fd, int64_t now_ns);

/* Takes the news, if there are any. Returns whether the drain has begun or ended. */
bool drain_take(struct drain *drain, int64_t now_ns);

/* Call it once a second. Logs it if the file cannot be looked for, and every ten minutes that the drain goes
 * on. */
void drain_tick(struct drain *drain, int64_t now_ns);

/* Since when the file has been there, in ms since 1970: when it was created or last changed. 0: it is not
 * there. While nobody can tell, this is what was known last; at the start, 0. */
int64_t drain_since_wall_ms(const struct drain *drain);

/* The path of the file; NULL: there is none. Owned by the drain. */
const char *drain_file(const struct drain *drain);

/* Why the file cannot be looked for; "" if it can. Owned by the drain; each tick writes it again. */
const char *drain_error(const struct drain *drain);

/* NULL is fine. Does not wait for the errand. */
void drain_close(struct drain *drain);

#endif
