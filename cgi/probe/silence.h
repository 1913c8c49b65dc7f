/* How long a server has owed us an answer without a byte: first suspicion, then conviction. Pure; time is an
 * argument. */
#ifndef PROBE_SILENCE_H
#define PROBE_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Whoever reads the fields leaves writing them to silence.c. */
struct silence {
    int64_t hung_after_ns; /* HEALTH_HUNG_AFTER */
    int64_t repeat_ns;     /* between two convictions while it lasts */
    int64_t longest_ns;    /* however many bytes come in between */
    int64_t since_ns;      /* the server owes us an answer; CLOCK_NEVER: it does not */
    int64_t heard_ns;      /* its bytes came last */
    int64_t not_before_ns; /* then it has spoken, or we were away */
    int64_t ended_ns;      /* of the last silence that was long enough for suspicion */
    int64_t lasted_ns;     /* and its duration */
    int64_t convicted_ns;  /* the last time; 0: never */
    bool is_forgiven;      /* begun again because of our own stall, once */
};

struct silence silence_none(int64_t hung_after_ns, int64_t connect_timeout_ns, int64_t repeat_ns);

/* The server owes an answer since then; without effect where it does already, or where since_ns is to come.
 */
void silence_begin(struct silence *silence, int64_t since_ns, int64_t now_ns);

/* When bytes came last, whatever they were. */
void silence_hear(struct silence *silence, int64_t heard_ns);

/* An answer came, to any question, on any session. */
void silence_end(struct silence *silence, int64_t now_ns);

/* The server has spoken, but not answered: it refused a login, or ended a session. */
void silence_interrupt(struct silence *silence, int64_t now_ns);

/* This process itself was away until now. */
void silence_forgive(struct silence *silence, int64_t now_ns);

/* It is convicted, and will be again while it lasts. */
void silence_convict(struct silence *silence, int64_t now_ns);

/* When it is time to suspect the server, and when to convict it; CLOCK_NEVER: there is none. */
int64_t silence_suspicion_ns(const struct silence *silence);
int64_t silence_conviction_ns(const struct silence *silence);

#endif
