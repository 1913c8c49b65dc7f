/* Who holds a listening socket: for messages that name a rogue instead of "address already in use". Reads
 * /proc; may take some ms; start-up and error paths only. */
#ifndef COMMON_HOLDER_H
#define COMMON_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* So many are described. */
#define HOLDER_MAX 64

struct holder {
    pid_t pid;
    uint64_t start_ticks;  /* starttime of proc(5): with pid it names one process for ever; 0: not read */
    uint64_t socket_inode; /* of the listening socket by which it was found; 0: by holder_of_peer */
    uid_t uid;
    char user[64];          /* name of uid, or its number */
    char command_line[256]; /* arguments joined by spaces; "[name]" when they cannot be read */
};

/* The process that answers on a connected AF_UNIX socket (SO_PEERCRED, unix(7)). */
bool holder_of_peer(int connected_fd, struct holder *out);

enum holder_reached {
    HOLDER_NAMED,     /* somebody listens: who called listen(2) */
    HOLDER_UNNAMED,   /* somebody listens, and the caller of listen(2) is gone, or the queue is full */
    HOLDER_NOBODY,    /* nobody listens at the path */
    HOLDER_UNREACHED, /* connect(2) failed otherwise: errno */
    HOLDER_NO_SOCKET, /* socket(2) failed: errno */
};

/* Connects to a Unix path, without blocking, to see whether somebody listens there. *out is filled for
 * HOLDER_NAMED. */
__attribute__((warn_unused_result)) enum holder_reached holder_reach(const struct sockaddr *address,
                                                                     socklen_t len, struct holder *out);

/* The oldest process that holds a socket listening on the address, as below. False when none is found or
 * /proc does not show it to this user. */
bool holder_of_address(const struct sockaddr *address, socklen_t len, struct holder *out);

struct holders {
    struct holder items[HOLDER_MAX]; /* those outside of home, the oldest first */
    size_t count;
    bool own;    /* there are some in home */
    bool more;   /* there are more outside of it than HOLDER_MAX */
    bool unseen; /* a socket's processes cannot be seen: /proc hides them from this user, they live outside
                    its PID namespace, or the kernel cannot be asked */
};

/* All the processes that hold a socket listening on the address (common/listening.h says which those are).
 * home: the control group whose processes are expected there; NULL: none are. */
void holder_list(const struct sockaddr *address, socklen_t len, const char *home, struct holders *out);

/* Whether a process is in that control group or below. */
bool holder_is_in(pid_t pid, const char *home);

/* Whether a socket is at the path for pid 1 and not for this process: its own sandbox (PrivateTmp=,
 * ProtectHome=), or another mount namespace, hides it. */
bool holder_is_hidden(const char *path);

/* Whether a process in cgroup is one of those in control_group or below. Pure. */
bool holder_belongs(const char *cgroup, const char *control_group);

/* When a process began, as in struct holder. False when it is gone. */
__attribute__((warn_unused_result)) bool holder_read_start(pid_t pid, uint64_t *start_ticks);

/* The same as ms since 1970 on the wall clock, for print. */
int64_t holder_start_wall_ms(uint64_t start_ticks);

/* The control group in which systemd keeps the process, as its property ControlGroup names it (cgroups(7)):
 * of the hierarchy named systemd or of the unified one, whichever is in use. False: gone, or longer than
 * out_size. */
__attribute__((warn_unused_result)) bool holder_read_cgroup(pid_t pid, char *out, size_t out_size);

/* "pid 123 (user root): python3 rogue.py" */
void holder_describe(const struct holder *h, char *out, int out_size);

#endif
