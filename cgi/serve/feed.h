/* What libfcgi reads. libfcgi reads from a descriptor and has no call that takes bytes; so feed.c defines
 * read(2) for all of this process, and serves FEED_FD from memory (intake.c does the like for libpq). Main
 * thread. */
#ifndef SERVE_FEED_H
#define SERVE_FEED_H

#include <limits.h>
#include <stddef.h>

/* A number that no descriptor has: fs.nr_open is below it (fs/file.c, sysctl_nr_open_max). To close it does
 * nothing. */
#define FEED_FD INT_MAX

/* read(FEED_FD) gives these bytes, which stay the caller's, and then the end of the file. */
void feed_begin(const void *bytes, size_t len);

/* Returns how many of them were not read. */
size_t feed_end(void);

#endif
