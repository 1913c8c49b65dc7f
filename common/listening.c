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
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* include/net/tcp_states.h: TCP_ESTABLISHED and TCP_LISTEN. A listening Unix socket has the state
 * TCP_LISTEN, too. */
#define STATE_ESTABLISHED 1
#define STATE_LISTEN      10

/* The kernel fills at most one buffer at a time and answers without waiting for anything. */
#define BUFFER_SIZE    32768
#define ANSWER_LIMIT_S 1

struct sought {
    const char *path;   /* NULL: TCP */
    struct in6_addr ip; /* an IPv4 address in its mapped form (RFC 4291, 2.5.5.2) */
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

static void add_inode(struct listening *out, uint64_t inode)
{
    if (out->count < LISTENING_MAX)
        out->inodes[out->count++] = inode;
}

/* Returns the attribute of that type after the fixed part of a message, or NULL. */
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
        add_inode(out, socket.idiag_inode);
}

static void take_unix(const struct nlmsghdr *header, const struct sought *sought, struct listening *out)
{
    struct unix_diag_msg socket;
    memcpy(&socket, NLMSG_DATA(header), sizeof socket);
    const struct rtattr *name = find_attribute(header, sizeof socket, UNIX_DIAG_NAME);
    if (socket.udiag_state != STATE_LISTEN || name == NULL)
        return;
    size_t len = strnlen(RTA_DATA(name), RTA_PAYLOAD(name));
    if (len == strlen(sought->path) && memcmp(RTA_DATA(name), sought->path, len) == 0)
        add_inode(out, socket.udiag_ino);
}

static int open_diag(void)
{
    const struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static bool send_request(int fd, struct request *request, size_t body_len, uint16_t flags)
{
    request->header = (struct nlmsghdr){.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_len),
                                        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                        .nlmsg_flags = NLM_F_REQUEST | flags};
    return send(fd, request, request->header.nlmsg_len, 0) == (ssize_t)request->header.nlmsg_len;
}

static ssize_t receive(int fd, char *buffer)
{
    ssize_t received;
    do {
        received = recvfrom(fd, buffer, BUFFER_SIZE, 0, NULL, NULL);
    } while (received < 0 && errno == EINTR);
    return received;
}

/* The last message of a dump reports whether it succeeded. A kernel without that family sends an error at
 * once. */
static bool is_good_end(const struct nlmsghdr *done)
{
    int error = 0;
    if (NLMSG_PAYLOAD(done, 0) >= sizeof error)
        memcpy(&error, NLMSG_DATA(done), sizeof error);
    return error >= 0;
}

/* Requests one dump and reads it to its end. */
static bool dump(int fd, struct request *request, size_t body_len, const struct sought *sought,
                 struct listening *out)
{
    _Alignas(struct nlmsghdr) char buffer[BUFFER_SIZE];
    size_t fixed = sought->path != NULL ? sizeof(struct unix_diag_msg) : sizeof(struct inet_diag_msg);
    if (!send_request(fd, request, body_len, NLM_F_DUMP))
        return false;
    for (;;) {
        ssize_t received = receive(fd, buffer);
        if (received <= 0)
            return false;
        size_t len = (size_t)received;
        for (const struct nlmsghdr *h = (const void *)buffer; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
            if (h->nlmsg_type == NLMSG_DONE)
                return is_good_end(h);
            if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(fixed))
                return false;
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
                                          .udiag_show = UDIAG_SHOW_NAME}};
    return dump(fd, &request, sizeof request.body.un, sought, out);
}

bool listening_find(const struct sockaddr *address, socklen_t len, struct listening *out)
{
    struct sockaddr_un un = {0};
    struct sought sought;
    bool ok = false;
    *out = (struct listening){.count = 0};
    int fd = open_diag();
    if (fd < 0)
        return false;
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

/* Makes a request for one socket: a Unix socket by its inode, a TCP socket by its addresses as the other
 * end has them. Returns the length of its body, or 0 when that fails. */
static size_t make_request_for_one(int fd, struct request *out)
{
    struct sockaddr_storage ours = {.ss_family = AF_UNSPEC};
    struct sockaddr_storage theirs;
    struct sockaddr_in in[2];
    struct sockaddr_in6 in6[2];
    struct stat st;
    socklen_t our_len = sizeof ours;
    socklen_t their_len = sizeof theirs;
    if (fstat(fd, &st) != 0 || getsockname(fd, (struct sockaddr *)&ours, &our_len) != 0)
        return 0;
    if (ours.ss_family == AF_UNIX) {
        out->body.un = (struct unix_diag_req){.sdiag_family = AF_UNIX,
                                              .udiag_ino = (uint32_t)st.st_ino,
                                              .udiag_show = UDIAG_SHOW_PEER,
                                              .udiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}};
        return sizeof out->body.un;
    }
    if (getpeername(fd, (struct sockaddr *)&theirs, &their_len) != 0)
        return 0;
    memcpy(&in[0], &theirs, sizeof in[0]);
    memcpy(&in[1], &ours, sizeof in[1]);
    memcpy(&in6[0], &theirs, sizeof in6[0]);
    memcpy(&in6[1], &ours, sizeof in6[1]);
    out->body.inet =
        (struct inet_diag_req_v2){.sdiag_family = (uint8_t)ours.ss_family,
                                  .sdiag_protocol = IPPROTO_TCP,
                                  .idiag_states = UINT32_MAX,
                                  .id = {.idiag_sport = in[0].sin_port, /* sin6_port is at the same place */
                                         .idiag_dport = in[1].sin_port,
                                         .idiag_src = {in[0].sin_addr.s_addr},
                                         .idiag_dst = {in[1].sin_addr.s_addr},
                                         .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}};
    if (ours.ss_family == AF_INET6) {
        memcpy(out->body.inet.id.idiag_src, &in6[0].sin6_addr, sizeof in6[0].sin6_addr);
        memcpy(out->body.inet.id.idiag_dst, &in6[1].sin6_addr, sizeof in6[1].sin6_addr);
    }
    return sizeof out->body.inet;
}

static enum listening_taken judge_one(const struct nlmsghdr *header, bool is_unix)
{
    struct unix_diag_msg un;
    struct inet_diag_msg inet;
    uint32_t peer = 0;
    size_t fixed = is_unix ? sizeof un : sizeof inet;
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(fixed))
        return LISTENING_UNKNOWN;
    if (is_unix) {
        const struct rtattr *attribute = find_attribute(header, sizeof un, UNIX_DIAG_PEER);
        if (attribute == NULL || RTA_PAYLOAD(attribute) < sizeof peer)
            return LISTENING_UNKNOWN;
        memcpy(&peer, RTA_DATA(attribute), sizeof peer);
        return peer != 0 ? LISTENING_TAKEN : LISTENING_WAITS;
    }
    memcpy(&inet, NLMSG_DATA(header), sizeof inet);
    if (inet.idiag_state != STATE_ESTABLISHED)
        return LISTENING_UNKNOWN;
    return inet.idiag_inode != 0 ? LISTENING_TAKEN : LISTENING_WAITS;
}

enum listening_taken listening_taken(int connected_fd)
{
    _Alignas(struct nlmsghdr) char buffer[BUFFER_SIZE];
    struct request request = {.header = {0}};
    enum listening_taken taken = LISTENING_UNKNOWN;
    size_t body_len = make_request_for_one(connected_fd, &request);
    int fd = body_len > 0 ? open_diag() : -1;
    if (fd < 0)
        return taken;
    ssize_t received = send_request(fd, &request, body_len, 0) ? receive(fd, buffer) : -1;
    if (received > 0 && NLMSG_OK((const struct nlmsghdr *)(const void *)buffer, (size_t)received))
        taken = judge_one((const void *)buffer, body_len == sizeof request.body.un);
    close(fd);
    return taken;
}
