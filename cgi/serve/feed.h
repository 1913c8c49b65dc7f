/* Feeds libfcgi from memory. libfcgi reads from a descriptor and has no call that takes bytes. So feed.c
 * defines read(2) for the whole process and serves FEED_FD from memory; intake.c does the same for libpq.
 * Main thread. */
#ifndef SERVE_FEED_H
#define SERVE_FEED_H

#include <limits.h>
#include <stddef.h>

/* A number that no descriptor has, because fs.nr_open is below it (fs/file.c, sysctl_nr_open_max). Closing
 * it does nothing. */
#define FEED_FD INT_MAX

/* From now on read(FEED_FD) returns these bytes, and then the end of the file. The bytes stay the
 * caller's. */
void feed_begin(const void *bytes, size_t len);

/* Ends the feed. Returns how many bytes libfcgi has not read. */
size_t feed_end(void);

#endif
