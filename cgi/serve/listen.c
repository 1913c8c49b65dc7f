/* Opens or inherits the listening socket. Main thread, at start and exit; the caller owns the socket. */
#include "cgi/serve/listen.h"

#include "common/holder.h"
#include "common/log.h"
#include "common/quantity.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SYSTEMD_FD 3   /* sd_listen_fds(3): SD_LISTEN_FDS_START */
#define BACKLOG    511 /* as in nginx and Redis; the kernel limits it to net.core.somaxconn */

static bool get_int_option(int fd, int option, int *value)
{
    socklen_t len = sizeof *value;
    return getsockopt(fd, SOL_SOCKET, option, value, &len) == 0;
}

static bool is_listening(int fd)
{
    int accepting = 0;
    return get_int_option(fd, SO_ACCEPTCONN, &accepting) && accepting != 0;
}

/* Returns how many descriptors systemd has passed to this process. */
static int systemd_fds(void)
{
    const char *pid = getenv("LISTEN_PID");
    const char *fds = getenv("LISTEN_FDS");
    int64_t number;
    if (pid == NULL || fds == NULL || !quantity_parse_count(pid, &number) || number != getpid() ||
        !quantity_parse_count(fds, &number) || number > INT_MAX)
        return 0;
    return (int)number;
}

bool listen_is_inherited(void)
{
    return systemd_fds() > 0 || is_listening(STDIN_FILENO);
}

/* Accepted sockets inherit this option. The end of a long response must not wait for the peer's delayed
 * ACK. libfcgi would set the option in its own accept, which this program does not use. */
static void send_at_once(int fd, sa_family_t family)
{
    int on = 1;
    if (family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static enum listen_status inherit(int fd, const char *name, struct listener *out, struct error *err)
{
    struct address address = {.len = sizeof address.socket};
    int type = 0;

    if (!is_listening(fd) || !get_int_option(fd, SO_TYPE, &type) || type != SOCK_STREAM ||
        getsockname(fd, (struct sockaddr *)&address.socket, &address.len) != 0) {
        error_set(err, "%s is not a listening stream socket", name);
        return LISTEN_CONFIG;
    }
    if (!address_is_loopback(&address)) {
        error_set(err,
                  "%s listens beyond loopback, expected a Unix socket or a loopback address: FastCGI has no "
                  "authentication",
                  name);
        return LISTEN_CONFIG;
    }
    /* An inherited descriptor is blocking, and child processes would inherit it, too. */
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        error_set(err, "%s: fcntl: %s", name, strerror(errno));
        return LISTEN_FAILED;
    }
    send_at_once(fd, address.socket.ss_family);
    out->fd = fd;
    out->inherited = true;
    snprintf(out->name, sizeof out->name, "%s", name);
    return LISTEN_OK;
}

/* The name of the setting in messages. */
static const char *setting_name(const struct config *config)
{
    return config->listen != NULL ? "HEALTH_LISTEN" : "HEALTH_LISTEN (default)";
}

static const char *setting_value(const struct config *config)
{
    return config->listen != NULL ? config->listen : CONFIG_DEFAULT_LISTEN;
}

__attribute__((format(printf, 3, 4))) static void setting_error(const struct config *config,
                                                                struct error *err, const char *format, ...)
{
    char why[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    error_set(err, "%s='%.110s': %.120s", setting_name(config), setting_value(config), why);
}

/* Reports which process holds the address: the peer that has answered, if it is known, else the process
 * that has the socket open. */
static enum listen_status held(const struct config *config, const struct address *address,
                               const struct holder *peer, struct error *err)
{
    char who[sizeof err->text] = "a process that this user cannot see";
    struct holder found;
    if (peer == NULL && holder_of_address((const struct sockaddr *)&address->socket, address->len, &found))
        peer = &found;
    if (peer != NULL)
        holder_describe(peer, who, sizeof who);
    error_set(err, "%s='%.60s' is held by %.150s", setting_name(config), setting_value(config), who);
    text_clean(err->text);
    return LISTEN_HELD;
}

/* Checks whether a process answers at the path. LISTEN_OK: no process does, and the path is free. */
static enum listen_status clear_path(const struct config *config, const struct address *address,
                                     struct error *err)
{
    const struct sockaddr *to = (const struct sockaddr *)&address->socket;
    const char *path = ((const struct sockaddr_un *)&address->socket)->sun_path;
    struct stat st;
    struct holder holder;
    if (lstat(path, &st) != 0)
        return LISTEN_OK; /* the path is free; any other problem gets a better error from bind(2) */
    if (!S_ISSOCK(st.st_mode)) {
        setting_error(config, err, "exists and is not a socket, expected a free path or a stale socket");
        return LISTEN_CONFIG;
    }
    enum holder_reached reached = holder_reach(to, address->len, &holder);
    int error = errno;
    switch (reached) {
    case HOLDER_NAMED: return held(config, address, &holder, err);
    case HOLDER_UNNAMED: return held(config, address, NULL, err);
    case HOLDER_UNREACHED:
        if (error == EACCES && holder_of_address(to, address->len, &holder))
            return held(config, address, &holder, err);
        setting_error(config, err, "connect: %s", strerror(error));
        return LISTEN_CONFIG;
    case HOLDER_NO_SOCKET: error_set(err, "socket: %s", strerror(error)); return LISTEN_FAILED;
    case HOLDER_NOBODY: break;
    }
    if (unlink(path) == 0 || errno == ENOENT)
        return LISTEN_OK;
    setting_error(config, err, "cannot remove the stale socket: %s", strerror(errno));
    return LISTEN_CONFIG;
}

/* getgrnam(3) is safe here, because no other thread runs yet. */
static bool find_group(const struct config *config, gid_t *out, struct error *err)
{
    errno = 0;
    const struct group *found = getgrnam(config->socket_group);
    if (found == NULL) {
        error_set(err, "HEALTH_SOCKET_GROUP='%.64s': %s, expected the name of a group", config->socket_group,
                  errno != 0 ? strerror(errno) : "unknown");
        return false;
    }
    *out = found->gr_gid;
    return true;
}

static bool set_group(const struct config *config, const char *path, struct error *err)
{
    gid_t group;
    if (config->socket_group == NULL)
        return true;
    if (!find_group(config, &group, err))
        return false;
    if (lchown(path, (uid_t)-1, group) != 0) {
        error_set(err, "HEALTH_SOCKET_GROUP='%.64s': chown: %s, expected a group that this user is in",
                  config->socket_group, strerror(errno));
        return false;
    }
    return true;
}

/* Binds and listens. Sets the mode and the group before listen(2), because until then nobody can connect. */
static enum listen_status bind_unix(const struct config *config, const struct address *address,
                                    struct listener *out, struct error *err)
{
    const char *path = ((const struct sockaddr_un *)&address->socket)->sun_path;
    struct stat st;
    const char *errpos = "bind";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(err, "socket: %s", strerror(errno));
        return LISTEN_FAILED;
    }
    /* bind(2) creates the path with mode 0777 less the umask (unix(7)). So the path has exactly this mode
     * at once. A chmod afterwards might change another process's path. No other thread runs yet that the
     * umask could affect. */
    mode_t umask_before = umask(~(mode_t)config->socket_mode & 0777);
    bool bound = bind(fd, (const struct sockaddr *)&address->socket, address->len) == 0;
    int bind_errno = errno;
    umask(umask_before);
    if (!bound && bind_errno == EADDRINUSE) { /* another process was quicker */
        close(fd);
        return held(config, address, NULL, err);
    }
    if (!bound) {
        errno = bind_errno;
        goto failed;
    }
    if (!set_group(config, path, err))
        goto undo;
    errpos = "stat";
    if (lstat(path, &st) != 0)
        goto failed;
    errpos = "listen";
    if (listen(fd, BACKLOG) != 0)
        goto failed;
    out->fd = fd;
    out->dev = st.st_dev;
    out->ino = st.st_ino;
    snprintf(out->path, sizeof out->path, "%s", path);
    snprintf(out->name, sizeof out->name, "unix:%s", path);
    return LISTEN_OK;

failed:
    setting_error(config, err, "%s: %s, expected a path in a directory where this user may create files",
                  errpos, strerror(errno));
undo:
    close(fd);
    if (bound)
        unlink(path);
    return LISTEN_CONFIG;
}

static enum listen_status open_tcp(const struct config *config, const struct address *address,
                                   struct listener *out, struct error *err)
{
    int on = 1;
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        enum listen_status status = errno == EAFNOSUPPORT ? LISTEN_CONFIG : LISTEN_FAILED; /* no IPv6 */
        setting_error(config, err, "socket: %s", strerror(errno));
        return status;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    send_at_once(fd, address->socket.ss_family);
    if (bind(fd, (const struct sockaddr *)&address->socket, address->len) == 0 && listen(fd, BACKLOG) == 0) {
        out->fd = fd;
        snprintf(out->name, sizeof out->name, "%s", setting_value(config));
        return LISTEN_OK;
    }
    int error = errno;
    close(fd);
    if (error == EADDRINUSE)
        return held(config, address, NULL, err);
    setting_error(config, err, "bind: %s", strerror(error));
    return error == EACCES || error == EADDRNOTAVAIL ? LISTEN_CONFIG : LISTEN_FAILED;
}

static enum listen_status open_own(const struct config *config, struct listener *out, struct error *err)
{
    struct address address;
    const char *expected = config_parse_listen(setting_value(config), &address);
    if (expected != NULL) {
        setting_error(config, err, "expected %s", expected);
        return LISTEN_CONFIG;
    }
    if (address.socket.ss_family != AF_UNIX)
        return open_tcp(config, &address, out, err);
    enum listen_status status = clear_path(config, &address, err);
    return status == LISTEN_OK ? bind_unix(config, &address, out, err) : status;
}

bool listen_check_group(const struct config *config, struct error *err)
{
    gid_t group;
    return config->socket_group == NULL || find_group(config, &group, err);
}

static enum listen_status open_systemd(int fds, struct listener *out, struct error *err)
{
    if (fds > 1)
        log_event(LOG_LEVEL_WARN, "extra sockets ignored", LOG_INT("sockets", fds));
    return inherit(SYSTEMD_FD, "systemd fd 3", out, err);
}

enum listen_status listen_open(const struct config *config, struct listener *out, struct error *err)
{
    int fds = systemd_fds();
    enum listen_status status;

    *out = (struct listener){.fd = -1};
    if (config->listen != NULL) {
        if (fds > 0) {
            log_event(LOG_LEVEL_WARN, "inherited socket ignored", LOG_STR("reason", "HEALTH_LISTEN is set"),
                      LOG_STR("listen", config->listen));
        }
        status = open_own(config, out, err);
    } else if (fds > 0) {
        status = open_systemd(fds, out, err);
    } else if (is_listening(STDIN_FILENO)) {
        status = inherit(STDIN_FILENO, "fd 0", out, err);
    } else {
        status = open_own(config, out, err);
    }
    /* No child process may take the socket for its own. */
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return status;
}

void listen_close(struct listener *listener)
{
    struct stat st;
    if (listener->path[0] != '\0' && lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino)
        unlink(listener->path);
    if (listener->fd >= 0) {
        close(listener->fd);
        listener->fd = -1;
    }
    listener->path[0] = '\0';
}
