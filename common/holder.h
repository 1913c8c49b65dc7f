/* Finds the processes that hold a listening socket, so that a message can name a rogue instead of "address
 * already in use". Reads /proc, which may take some ms: for start-up and error paths only. */
#ifndef COMMON_HOLDER_H
#define COMMON_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The most holders that a list describes. */
#define HOLDER_MAX 64

struct holder {
    pid_t pid;
    uint64_t start_ticks; /* starttime of proc(5): with pid it identifies one process for ever; 0: not read */
    uint64_t socket_inode; /* of the listening socket that led to it; 0: found by holder_of_peer */
    uid_t uid;
    char user[64];          /* name of uid, or its number */
    char command_line[256]; /* arguments joined by spaces; "[name]" when they cannot be read */
};

/* Finds the process that answers on a connected AF_UNIX socket (SO_PEERCRED, unix(7)). */
bool holder_of_peer(int connected_fd, struct holder *out);

enum holder_reached {
    HOLDER_NAMED,     /* a process listens, and *out is the one that called listen(2) */
    HOLDER_UNNAMED,   /* a process listens, but the caller of listen(2) is gone, or the queue is full */
    HOLDER_NOBODY,    /* no process listens at the path */
    HOLDER_UNREACHED, /* connect(2) failed for another reason: see errno */
    HOLDER_NO_SOCKET, /* socket(2) failed: see errno */
};

/* Connects to a Unix path, without blocking, to check whether a process listens there. Fills *out for
 * HOLDER_NAMED. */
__attribute__((warn_unused_result)) enum holder_reached holder_reach(const struct sockaddr *address,
                                                                     socklen_t len, struct holder *out);

/* Finds the oldest process that holds a socket listening on the address, as holder_list does. False when
 * there is none, or /proc does not show it to this user. */
bool holder_of_address(const struct sockaddr *address, socklen_t len, struct holder *out);

struct holders {
    struct holder items[HOLDER_MAX]; /* the processes outside home, the oldest first */
    size_t count;
    bool own;    /* there are holders in home */
    bool more;   /* there are more than HOLDER_MAX outside home */
    bool unseen; /* some holders cannot be seen: /proc hides them from this user, they live outside its PID
                    namespace, or the kernel cannot be asked */
};

/* Lists all processes that hold a socket listening on the address (common/listening.h says which sockets
 * those are). home is the control group whose processes are expected there; NULL: no process is. */
void holder_list(const struct sockaddr *address, socklen_t len, const char *home, struct holders *out);

/* Whether the process is in this control group or below it. */
bool holder_is_in(pid_t pid, const char *home);

/* Whether pid 1 or a holder sees a socket at the path that this process does not see. This process's
 * sandbox (PrivateTmp=, ProtectHome=) or another mount namespace hides it. */
bool holder_is_hidden(const char *path);

/* Whether cgroup is control_group, or below it. Pure. */
bool holder_belongs(const char *cgroup, const char *control_group);

/* Reads when a process began, as in struct holder. False when the process is gone. */
__attribute__((warn_unused_result)) bool holder_read_start(pid_t pid, uint64_t *start_ticks);

/* Converts that to ms since 1970 on the wall clock, for display. */
int64_t holder_start_wall_ms(uint64_t start_ticks);

/* Reads the control group in which systemd keeps the process, as its property ControlGroup names it
 * (cgroups(7)). Takes it from the hierarchy named systemd or from the unified one, whichever is in use.
 * False: the process is gone, or the name does not fit into out. */
__attribute__((warn_unused_result)) bool holder_read_cgroup(pid_t pid, char *out, size_t out_size);

/* Writes "pid 123 (user root): python3 rogue.py". */
void holder_describe(const struct holder *h, char *out, int out_size);

#endif
