/* The server's processes, for server.c and postmaster.c only. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include "tests/sim/server.h"

#define PROCESSES_MAX 512

enum work {
    WORK_NONE, /* it waits for its client */
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
    int64_t generation; /* of the work; an event for an older one is ignored */
    bool is_due;        /* the work ended while the process was stopped */
    const char *end;    /* the SQLSTATE with which the work ends; NULL: it returns a value */
    int check;
    int64_t started_ns;
    /* The implicit transaction: */
    bool aborted;
    int64_t timeout_ms;
    bool client_check;
    struct message *out, *out_last; /* not flushed yet */
};
extern struct process processes[PROCESSES_MAX];
extern struct process *processes_end; /* after the last one that was ever used */

/* Handles what its client has sent, until it has to wait. */
void process_go_on(struct process *p);

void process_put_error(struct process *p, const char *severity, const char *sqlstate, const char *text);

/* Ends the process, and closes its connection if it has one. */
void process_end(struct process *p);

/* Accepts the connections in the backlog, unless the postmaster is frozen. */
void postmaster_open_door(void);

#endif
