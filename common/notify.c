/* sd_notify(3) in one datagram. Main thread; owns one socket for the life of the process. */
#include "common/notify.h"

#include "common/clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_fd = -1;

static int64_t read_watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    char *end;

    if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid())) {
        return 0;
    }
    errno = 0;
    long long value = strtoll(usec, &end, 10);
    return errno == 0 && *end == '\0' && value > 0 ? value * NS_PER_US : 0;
}

static void connect_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || len >= sizeof address.sun_path) {
        return;
    }
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* the abstract namespace, unix(7) */
    }
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (notify_fd >= 0 && connect(notify_fd, (const struct sockaddr *)&address, address_len) != 0) {
        close(notify_fd);
        notify_fd = -1;
    }
}

int64_t notify_init(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    int64_t watchdog_ns = read_watchdog_ns();

    if (path != NULL) {
        connect_socket(path);
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return watchdog_ns;
}

bool notify_send(const char *lines)
{
    if (notify_fd < 0) {
        return true;
    }
    return send(notify_fd, lines, strlen(lines), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)strlen(lines);
}
