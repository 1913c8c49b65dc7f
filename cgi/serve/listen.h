/* Gets the listening socket: from systemd, as fd 0, or at our own path or port. If another process holds
 * the address, the error names that process. Main thread, at start and exit. */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include "cgi/config.h"
#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* Descriptors that stay open: the listener. */
#define LISTEN_FDS 1

struct listener {
    int fd;         /* listening, non-blocking, close-on-exec; -1 when closed */
    bool inherited; /* from systemd or fd 0: never shut down, and its path is not ours to remove */
    char name[128]; /* "systemd fd 3", "fd 0", "unix:PATH" or "tcp:ADDR:PORT", for the log */
    char path[108]; /* our own Unix path, else "" */
    dev_t dev;      /* of that path when we created it */
    ino_t ino;
};

enum listen_status {
    LISTEN_OK,
    LISTEN_HELD,   /* another live process holds the address: EX_UNAVAILABLE, and err names the process */
    LISTEN_CONFIG, /* a setting is wrong or unusable: EX_CONFIG */
    LISTEN_FAILED, /* the system refused */
};

/* Takes HEALTH_LISTEN if it is set, else the first socket of sd_listen_fds(3), else fd 0 if it is a
 * listening socket, else CONFIG_DEFAULT_LISTEN. Connects to a Unix path first. If a process answers there, or
 * its backlog is full, the path is held: LISTEN_HELD. If the connection is refused, the socket is stale, and
 * listen_open replaces it. If the path is not a socket, it stays as it is: LISTEN_CONFIG. If another process
 * binds the path meanwhile: LISTEN_HELD. A TCP socket, inherited or not, must have a loopback address. */
__attribute__((warn_unused_result)) enum listen_status listen_open(const struct config *config,
                                                                   struct listener *out, struct error *err);

/* Whether the group HEALTH_SOCKET_GROUP exists, if it is set. config cannot check that. False: err names
 * the group. */
__attribute__((warn_unused_result)) bool listen_check_group(const struct config *config, struct error *err);

/* Whether fd 0 is a listening socket, or systemd passed one to this process. */
bool listen_is_inherited(void);

/* Closes the descriptor and removes the path if it is still the inode that we created. Never calls
 * shutdown(2), which would close the socket for other processes that share it. */
void listen_close(struct listener *listener);

#endif
