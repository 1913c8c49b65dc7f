/* Gets the listening socket: systemd's, fd 0, or our own path or port; names who holds it if someone does.
 * Main thread, at start and exit. */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include "cgi/config.h"
#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* Descriptors held for good: the listener. */
#define LISTEN_FDS 1

struct listener {
    int fd;         /* listening, non-blocking, close-on-exec; -1 when closed */
    bool inherited; /* systemd's or fd 0: never shut down, its path is not ours to remove */
    char name[128]; /* "systemd fd 3", "fd 0", "unix:PATH", "tcp:ADDR:PORT" for the log */
    char path[108]; /* our own Unix path, else "" */
    dev_t dev;      /* of that path when we made it */
    ino_t ino;
};

enum listen_status {
    LISTEN_OK,
    LISTEN_HELD,   /* another live process has it: EX_UNAVAILABLE, err names it */
    LISTEN_CONFIG, /* a wrong or unusable setting: EX_CONFIG */
    LISTEN_FAILED, /* the system refused */
};

/* HEALTH_LISTEN if set, else LISTEN_FDS of sd_listen_fds(3), else fd 0 if it is a listening socket, else
 * CONFIG_DEFAULT_LISTEN. A Unix path is connected to first: answered (or its backlog is full) is LISTEN_HELD;
 * refused and a socket is stale and replaced; not a socket is LISTEN_CONFIG and left alone. A path that
 * another process binds meanwhile is LISTEN_HELD, too. TCP, inherited or not, only on loopback
 * addresses. */
__attribute__((warn_unused_result)) enum listen_status listen_open(const struct config *config,
                                                                   struct listener *out, struct error *err);

/* Whether there is such a group as HEALTH_SOCKET_GROUP, if it is set: what config cannot tell. False: err
 * names it. */
__attribute__((warn_unused_result)) bool listen_check_group(const struct config *config, struct error *err);

/* Whether fd 0 is a listening socket, or systemd passed one to this process. */
bool listen_is_inherited(void);

/* Closes the descriptor; removes the path if it is still the inode we made. Never calls shutdown(2). */
void listen_close(struct listener *listener);

#endif
