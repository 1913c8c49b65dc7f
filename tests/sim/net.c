/* Simulates the connections between program and server, and delays, repeats or drops their packets. Owns the
 * links and their messages. */
#include "tests/sim/net.h"

#include "tests/sim/server.h"
#include "tests/sim/timeline.h"

#include <stdlib.h>

#define RETRY_NS     (200 * NS_PER_MS) /* Linux: TCP_RTO_MIN */
#define SYN_RETRY_NS NS_PER_S          /* TCP_TIMEOUT_INIT */
#define LINKS_MAX    65536

struct net net;

static struct link *links[LINKS_MAX];
static int link_count;
static struct message *spare;

struct message *net_new(enum message_kind kind)
{
    struct message *m = spare;
    if (m != NULL)
        spare = m->next;
    else
        m = malloc(sizeof *m);
    if (m == NULL)
        abort();
    *m = (struct message){.kind = kind, .size = kind == DOWN_READY ? 6 : 80};
    return m;
}

void net_free(struct message *m)
{
    m->next = spare;
    spare = m;
}

static int64_t delay_ns(void)
{
    return net.delay_ns + rng_below(&net.rng, net.jitter_ns);
}

static bool passes(const struct link *link, bool is_syn)
{
    if (net.is_local)
        return true;
    if (net.silent > 0 || net.silent_address[link->address] > 0)
        return false;
    if (net.lose_next > 0 && !is_syn) {
        net.lose_next--;
        timeline_note("packet of connection %d lost", link->number);
        return false;
    }
    return !rng_percent(&net.rng, net.lose_percent);
}

static void reset_arrives(void *context, int64_t state)
{
    struct link *link = context;
    link->state = (enum link_state)state;
}

static void answer_by_reset(struct link *link, enum link_state state)
{
    link->server_open = false;
    timeline_at(timeline_now_ns + delay_ns(), reset_arrives, link, state);
}

static void acknowledged(void *context, int64_t unused)
{
    struct link *link = context;
    (void)unused;
    if (link->state == LINK_CONNECTING)
        link->state = LINK_OPEN;
}

static void syn_arrives(void *context, int64_t unused)
{
    struct link *link = context;
    (void)unused;
    if (!server_listens()) {
        answer_by_reset(link, LINK_REFUSED);
        return;
    }
    link->server_open = true;
    timeline_at(timeline_now_ns + delay_ns(), acknowledged, link, 0);
    server_connected(link);
}

static void send_syn(void *context, int64_t retry_ns)
{
    struct link *link = context;

    if (!link->client_open)
        return;
    bool lost = net.lose_next_syn > 0 && !net.is_local;
    net.lose_next_syn -= lost ? 1 : 0;
    if (lost || !passes(link, true)) {
        timeline_note("connection %d: SYN lost", link->number);
        timeline_at(timeline_now_ns + retry_ns, send_syn, link, retry_ns * 2);
        return;
    }
    timeline_at(timeline_now_ns + delay_ns(), syn_arrives, link, 0);
}

struct link *net_connect(int address)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL || link_count == LINKS_MAX)
        timeline_violation("storm", "%d connections", link_count);
    link->number = ++link_count;
    links[link_count - 1] = link;
    link->address = address;
    link->client_open = true;
    send_syn(link, SYN_RETRY_NS);
    return link;
}

static void append(struct message **first, struct message **last, struct message *messages)
{
    if (*first == NULL)
        *first = messages;
    else
        (*last)->next = messages;
    while (messages->next != NULL)
        messages = messages->next;
    *last = messages;
}

static void free_all(struct message *m)
{
    for (struct message *next; m != NULL; m = next) {
        next = m->next;
        net_free(m);
    }
}

static void arrive_up(void *context, int64_t unused)
{
    struct message *messages = context;
    struct link *link = messages->link;
    (void)unused;

    if (!link->server_open) {
        free_all(messages);
        answer_by_reset(link, LINK_RESET);
        return;
    }
    append(&link->waiting, &link->waiting_last, messages);
    if (link->process != NULL)
        server_received(link);
}

static void arrive_down(void *context, int64_t unused)
{
    struct message *messages = context;
    struct link *link = messages->link;
    (void)unused;

    if (link->state == LINK_CONNECTING)
        link->state = LINK_OPEN; /* the server's first packet overtook the SYN-ACK */
    if (!link->client_open || link->state != LINK_OPEN) {
        free_all(messages); /* the program does not see the reset that answers it */
        return;
    }
    for (struct message *m = messages; m != NULL; m = m->next) {
        link->at_end |= m->kind == DOWN_END;
        link->delivered += m->kind == DOWN_END ? 0 : m->size;
        m->end_offset = link->delivered;
    }
    append(&link->inbox, &link->inbox_last, messages);
}

static void deliver(struct half *half, struct message *messages, timeline_fn *arrive)
{
    int64_t when_ns = timeline_now_ns + delay_ns();
    half->last_arrival_ns = when_ns > half->last_arrival_ns ? when_ns : half->last_arrival_ns;
    timeline_at(half->last_arrival_ns, arrive, messages, 0);
}

static void retry_up(void *context, int64_t unused);
static void retry_down(void *context, int64_t unused);

static void send_on(struct link *link, struct half *half)
{
    bool is_up = half == &link->up;
    if (half->first == NULL)
        return;
    if (passes(link, false)) {
        struct message *messages = half->first;
        half->first = NULL;
        half->retry_ns = 0;
        deliver(half, messages, is_up ? arrive_up : arrive_down);
        return;
    }
    half->retry_ns = half->retry_ns == 0 ? RETRY_NS + 2 * net.delay_ns : half->retry_ns * 2;
    half->is_retrying = true;
    timeline_at(timeline_now_ns + half->retry_ns, is_up ? retry_up : retry_down, link, 0);
}

static void retry_up(void *context, int64_t unused)
{
    struct link *link = context;
    (void)unused;
    link->up.is_retrying = false;
    send_on(link, &link->up);
}

static void retry_down(void *context, int64_t unused)
{
    struct link *link = context;
    (void)unused;
    link->down.is_retrying = false;
    send_on(link, &link->down);
}

static void send_messages(struct link *link, struct half *half, struct message *messages)
{
    for (struct message *m = messages; m != NULL; m = m->next) {
        m->link = link;
        m->sent_ns = timeline_now_ns;
    }
    append(&half->first, &half->last, messages);
    if (!half->is_retrying)
        send_on(link, half);
}

void net_send_up(struct link *link, struct message *messages)
{
    send_messages(link, &link->up, messages);
}

void net_send_down(struct link *link, struct message *messages)
{
    send_messages(link, &link->down, messages);
}

void net_abandon(struct link *link)
{
    link->server_open = false;
    link->process = NULL;
    free_all(link->waiting);
    link->waiting = NULL;
}

void net_reset(struct link *link)
{
    if (link->state == LINK_OPEN || link->state == LINK_CONNECTING)
        link->state = LINK_RESET;
    server_disconnected(link);
    net_abandon(link);
}

void net_reset_all(void)
{
    for (int i = 0; i < link_count; i++)
        if (links[i]->logged_in && links[i]->client_open)
            net_reset(links[i]);
}

void net_close(struct link *link)
{
    link->client_open = false;
    link->closed_ns = timeline_now_ns;
    free_all(link->inbox);
    link->inbox = NULL;
    net_send_up(link, net_new(UP_GOODBYE));
}

struct message *net_take(struct link *link)
{
    struct message *m = link->inbox;
    if (m == NULL || m->kind == DOWN_END || m->end_offset > link->read)
        return NULL;
    link->inbox = m->next;
    m->next = NULL;
    return m;
}
