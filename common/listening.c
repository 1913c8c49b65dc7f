/* Asks the kernel for its listening sockets over netlink. Any thread; no state. */
#include "common/listening.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* include/net/tcp_states.h: TCP_LISTEN, the state of listening Unix sockets too. */
#define STATE_LISTEN 10

/* The kernel fills one buffer at once; it answers without waiting for anything. */
#define BUFFER_SIZE    32768
#define ANSWER_LIMIT_S 1

struct sought {
    const char *path;   /* NULL: TCP */
    struct in6_addr ip; /* an IPv4 address as the mapped one (RFC 4291, 2.5.5.2) */
    bool is_any;
    in_port_t port;
};

struct request {
    struct nlmsghdr header;
    union {
        struct inet_diag_req_v2 inet;
        struct unix_diag_req un;
    } body;
};

static struct in6_addr mapped(uint32_t ipv4)
{
    struct in6_addr out = {.s6_addr32 = {0, 0, htonl(0xffff), ipv4}};
    return out;
}

static struct sought seek(const struct sockaddr *address)
{
    struct sought sought = {.path = NULL};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof in);
        sought.ip = mapped(in.sin_addr.s_addr);
        sought.is_any = in.sin_addr.s_addr == htonl(INADDR_ANY);
        sought.port = in.sin_port;
    } else {
        memcpy(&in6, address, sizeof in6);
        sought.ip = in6.sin6_addr;
        sought.is_any = IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
        sought.port = in6.sin6_port;
    }
    return sought;
}

static void add(struct listening *out, uint64_t inode, uint32_t waiting)
{
    if (out->count == LISTENING_MAX)
        return;
    out->items[out->count].inode = inode;
    out->items[out->count++].waiting = waiting;
}

/* The attribute of that type behind a message's fixed part, NULL without it. */
static const struct rtattr *find_attribute(const struct nlmsghdr *header, size_t fixed, unsigned short type)
{
    size_t len = NLMSG_PAYLOAD(header, fixed);
    const struct rtattr *at = (const void *)((const char *)NLMSG_DATA(header) + NLMSG_ALIGN(fixed));
    for (; RTA_OK(at, len); at = RTA_NEXT(at, len))
        if (at->rta_type == type)
            return at;
    return NULL;
}

static void take_inet(const struct nlmsghdr *header, const struct sought *sought, struct listening *out)
{
    struct inet_diag_msg socket;
    struct in6_addr ip;
    memcpy(&socket, NLMSG_DATA(header), sizeof socket);
    const struct rtattr *only = find_attribute(header, sizeof socket, INET_DIAG_SKV6ONLY);
    bool is_v6only = only != NULL && *(const uint8_t *)RTA_DATA(only) != 0;
    memcpy(&ip, socket.id.idiag_src, sizeof ip);
    bool is_any = socket.idiag_family == AF_INET ? ip.s6_addr32[0] == 0 : IN6_IS_ADDR_UNSPECIFIED(&ip);
    bool takes_v6 = socket.idiag_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&ip);
    bool takes_v4 = !takes_v6 || (is_any && !is_v6only);
    if (socket.idiag_family == AF_INET)
        ip = mapped(ip.s6_addr32[0]);
    if (socket.idiag_state == STATE_LISTEN && socket.id.idiag_sport == sought->port &&
        (IN6_IS_ADDR_V4MAPPED(&sought->ip) ? takes_v4 : takes_v6) &&
        (sought->is_any || is_any || IN6_ARE_ADDR_EQUAL(&ip, &sought->ip)))
        add(out, socket.idiag_inode, socket.idiag_rqueue);
}

static void take_unix(const struct nlmsghdr *header, const struct sought *sought, struct listening *out)
{
    struct unix_diag_msg socket;
    struct unix_diag_rqlen queue = {0};
    memcpy(&socket, NLMSG_DATA(header), sizeof socket);
    const struct rtattr *name = find_attribute(header, sizeof socket, UNIX_DIAG_NAME);
    const struct rtattr *rqlen = find_attribute(header, sizeof socket, UNIX_DIAG_RQLEN);
    if (socket.udiag_state != STATE_LISTEN || name == NULL)
        return;
    size_t len = strnlen(RTA_DATA(name), RTA_PAYLOAD(name));
    if (rqlen != NULL && RTA_PAYLOAD(rqlen) >= sizeof queue)
        memcpy(&queue, RTA_DATA(rqlen), sizeof queue);
    if (len == strlen(sought->path) && memcmp(RTA_DATA(name), sought->path, len) == 0)
        add(out, socket.udiag_ino, queue.udiag_rqueue);
}

/* One dump to its end. */
static bool dump(int fd, struct request *request, size_t body_len, const struct sought *sought,
                 struct listening *out)
{
    _Alignas(struct nlmsghdr) char buffer[BUFFER_SIZE];
    request->header = (struct nlmsghdr){.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_len),
                                        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
    if (send(fd, request, request->header.nlmsg_len, 0) < 0)
        return false;
    for (;;) {
        ssize_t received = recv(fd, buffer, sizeof buffer, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return false;
        size_t len = (size_t)received;
        for (const struct nlmsghdr *h = (const void *)buffer; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
            if (h->nlmsg_type == NLMSG_DONE)
                return true;
            if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
                return false; /* NLMSG_ERROR: this kernel does not list that family */
            if (sought->path != NULL)
                take_unix(h, sought, out);
            else
                take_inet(h, sought, out);
        }
    }
}

static bool dump_tcp(int fd, uint8_t family, const struct sought *sought, struct listening *out)
{
    struct request request = {.body.inet = {.sdiag_family = family,
                                            .sdiag_protocol = IPPROTO_TCP,
                                            .idiag_states = 1U << STATE_LISTEN}};
    return dump(fd, &request, sizeof request.body.inet, sought, out);
}

static bool dump_unix(int fd, const struct sought *sought, struct listening *out)
{
    struct request request = {.body.un = {.sdiag_family = AF_UNIX,
                                          .udiag_states = 1U << STATE_LISTEN,
                                          .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN}};
    return dump(fd, &request, sizeof request.body.un, sought, out);
}

bool listening_find(const struct sockaddr *address, socklen_t len, struct listening *out)
{
    const struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    struct sockaddr_un un = {0};
    struct sought sought;
    bool ok = false;
    *out = (struct listening){.count = 0};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (address->sa_family == AF_UNIX) {
        memcpy(&un, address, len < sizeof un ? len : sizeof un - 1);
        sought = (struct sought){.path = un.sun_path};
        ok = dump_unix(fd, &sought, out);
    } else if (address->sa_family == AF_INET || address->sa_family == AF_INET6) {
        sought = seek(address);
        ok = dump_tcp(fd, AF_INET6, &sought, out) &&
             (address->sa_family == AF_INET6 || dump_tcp(fd, AF_INET, &sought, out));
    }
    close(fd);
    return ok;
}
