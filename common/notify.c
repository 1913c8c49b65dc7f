/* Implements sd_notify(3) in one datagram. Main thread; owns one socket for the life of the process. */
#include "common/notify.h"

#include "common/quantity.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
    int fd; /* -1: there is no manager */
    struct sockaddr_un address;
    socklen_t address_len;
} manager = {.fd = -1};

static int64_t read_watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    int64_t number = 0;

    if (usec == NULL || (pid != NULL && (!quantity_parse_count(pid, &number) || number != getpid())))
        return 0;
    return quantity_parse_count(usec, &number) && number <= INT64_MAX / NS_PER_US ? number * NS_PER_US : 0;
}

static void find_manager(const char *path)
{
    size_t len = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || len >= sizeof manager.address.sun_path)
        return;
    manager.address.sun_family = AF_UNIX;
    memcpy(manager.address.sun_path, path, len);
    if (path[0] == '@')
        manager.address.sun_path[0] = '\0'; /* the abstract namespace, unix(7) */
    manager.address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int64_t notify_init(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    int64_t watchdog_ns = read_watchdog_ns();

    if (manager.fd >= 0) {
        close(manager.fd);
        manager.fd = -1;
    }
    if (path != NULL)
        find_manager(path);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return watchdog_ns;
}

bool notify_is_on(void)
{
    return manager.fd >= 0;
}

/* Sends to the address each time, because a connected socket would not find a manager that has restarted. */
bool notify_send(const char *lines)
{
    if (manager.fd < 0)
        return true;
    ssize_t sent = sendto(manager.fd, lines, strlen(lines), MSG_DONTWAIT | MSG_NOSIGNAL,
                          (const struct sockaddr *)&manager.address, manager.address_len);
    return sent == (ssize_t)strlen(lines);
}
