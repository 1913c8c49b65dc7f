/* The server's inside: for server.c and postmaster.c alone. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include "tests/sim/server.h"

#define PROCESSES_MAX 512

enum work {
    WORK_NONE, /* waits for its client */
    WORK_LOGIN,
    WORK_CHECK,
};

struct process {
    bool exists;
    int pid;
    struct link *link; /* NULL: the client is gone */
    bool frozen;
    int login_step;
    enum work work;
    int64_t generation; /* of the work: what an event was meant for */
    bool is_due;        /* the work ended while the process was stopped */
    const char *end;    /* SQLSTATE with which it ends; NULL: a value */
    int check;
    int64_t started_ns;
    /* The implicit transaction: */
    bool aborted;
    int64_t timeout_ms;
    bool client_check;
    struct message *out, *out_last; /* not flushed yet */
};
extern struct process processes[PROCESSES_MAX];
extern struct process *processes_end; /* behind those that were ever used */

/* Takes what its client has sent, as far as it can. */
void process_go_on(struct process *p);

void process_put_error(struct process *p, const char *severity, const char *sqlstate, const char *text);

/* It ends; its client, if it still has one, learns of that. */
void process_end(struct process *p);

/* Takes those that wait, unless it is frozen. */
void postmaster_open_door(void);

#endif
