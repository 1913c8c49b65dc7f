/* The network between the program and the server. A connection delivers its messages in order: after a delay,
 * later if a packet is lost, or never. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "tests/sim/query.h"
#include "tests/sim/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_ADDRESSES_MAX 4

enum message_kind {
    UP_LOGIN, /* the startup packet, or the answer to a DOWN_LOGIN */
    UP_QUERY,
    UP_SYNC,
    UP_FLUSH,
    UP_GOODBYE, /* Terminate, and the end of the connection */
    DOWN_LOGIN, /* the next step of the login */
    DOWN_ROWS,
    DOWN_COMMAND, /* the command is complete, without rows */
    DOWN_ERROR,
    DOWN_NOTICE,
    DOWN_READY, /* the server is ready for a query; the first one ends the login */
    DOWN_END,   /* the end of the connection */
};

struct message {
    struct message *next; /* in the same packet or queue */
    struct link *link;
    enum message_kind kind;
    int64_t size;
    int64_t sent_ns;    /* when the server sent it */
    int64_t end_offset; /* where it ends in the bytes that the program reads */
    struct query query; /* UP_QUERY */
    int pid;            /* DOWN_READY of a login: the server process */
    /* DOWN_ROWS: each row has the same value in each column; is_null: the value is SQL's NULL. */
    int rows, columns;
    unsigned type;
    bool is_null;
    char value[24];
    /* DOWN_ERROR, DOWN_NOTICE: */
    const char *severity, *sqlstate, *text;
};

/* One direction of a connection: the packets that were sent and not acknowledged, while the network fails. */
struct half {
    struct message *first, *last;
    int64_t retry_ns;
    int64_t last_arrival_ns;
    bool is_retrying;
};

enum link_state {
    LINK_CONNECTING,
    LINK_OPEN,
    LINK_REFUSED,
    LINK_RESET,
};

struct link {
    int number;
    int address;
    enum link_state state;
    bool client_open; /* the program has not closed its end */
    int64_t closed_ns;
    bool server_open; /* the server has not closed its end */
    bool at_end;      /* DOWN_END was delivered */
    bool logged_in;   /* the program knows it */
    struct process *process;
    struct half up, down;
    struct message *waiting, *waiting_last; /* delivered, not taken by a server process */
    struct message *inbox, *inbox_last;     /* delivered, not parsed by the program */
    int64_t delivered, read;                /* bytes towards the program */
};

struct net {
    int64_t delay_ns;  /* half a round trip */
    int64_t jitter_ns; /* the greatest random addition */
    bool is_local;     /* a Unix socket, which loses nothing */
    int address_count;
    /* Faults: */
    int silent;                            /* how many running faults stop all packets */
    int silent_address[NET_ADDRESSES_MAX]; /* the same for one address */
    int lose_next;                         /* how many packets to lose */
    int lose_next_syn;
    int lose_percent;
    struct rng rng;
};
extern struct net net;

struct link *net_connect(int address);

struct message *net_new(enum message_kind kind);
void net_free(struct message *message);

/* Sends a list of messages as one packet. */
void net_send_up(struct link *link, struct message *messages);
void net_send_down(struct link *link, struct message *messages);

/* Closes the server's end without a message. A reset answers what comes from now on. */
void net_abandon(struct link *link);

/* Resets the connection; both ends learn it at once. */
void net_reset(struct link *link);

/* Resets all sessions; a running login is not a session. */
void net_reset_all(void);

/* Closes the program's end. */
void net_close(struct link *link);

/* Takes the first message that the program has read completely; NULL: there is none. */
struct message *net_take(struct link *link);

#endif
