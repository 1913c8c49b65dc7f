/* The network between the program and the server: connections that deliver messages in order, after a delay,
 * again when a packet was lost, or not at all. */
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
    UP_GOODBYE, /* and the end of the connection */
    DOWN_LOGIN, /* the server wants more of the login */
    DOWN_ROWS,
    DOWN_COMMAND, /* done, without rows */
    DOWN_ERROR,
    DOWN_NOTICE,
    DOWN_READY, /* for the next query; of a login: welcome */
    DOWN_END,   /* of the connection */
};

struct message {
    struct message *next; /* in one packet, or in a queue */
    struct link *link;
    enum message_kind kind;
    int64_t size;
    int64_t sent_ns;    /* by the server */
    int64_t end_offset; /* of it in what the program reads */
    struct query query; /* UP_QUERY */
    int pid;            /* DOWN_READY of a login: of the server process */
    /* DOWN_ROWS: as often as rows says the same value in each of the columns; is_null: SQL's NULL. */
    int rows, columns;
    unsigned type;
    bool is_null;
    char value[24];
    /* DOWN_ERROR, DOWN_NOTICE: */
    const char *severity, *sqlstate, *text;
};

/* One direction of a connection: what was sent and is not acknowledged yet, while the network fails. */
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
    bool client_open; /* the program has not closed it */
    int64_t closed_ns;
    bool server_open; /* somebody at the server has it */
    bool at_end;      /* the end was delivered */
    bool logged_in;   /* as the program knows */
    struct process *process;
    struct half up, down;
    struct message *waiting, *waiting_last; /* delivered, not taken by a server process */
    struct message *inbox, *inbox_last;     /* delivered, not parsed by the program */
    int64_t delivered, read;                /* bytes towards the program */
};

struct net {
    int64_t delay_ns;  /* half a round trip */
    int64_t jitter_ns; /* at most so much more */
    bool is_local;     /* a Unix socket: nothing is lost */
    int address_count;
    /* Faults: */
    int silent;                            /* how many say that nothing passes */
    int silent_address[NET_ADDRESSES_MAX]; /* the same of one address */
    int lose_next;                         /* packets */
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

/* The server's end of the connection is closed without a word: what comes now is answered by a reset. */
void net_abandon(struct link *link);

/* Both ends learn at once that the connection is gone. */
void net_reset(struct link *link);

/* All sessions; a login under way is none. */
void net_reset_all(void);

/* The program closes its end. */
void net_close(struct link *link);

/* Takes the first message that the program has read as a whole, NULL when there is none. */
struct message *net_take(struct link *link);

#endif
