/* Measures how long the server has owed an answer and has sent no byte: first comes suspicion, then
 * conviction. Pure; time is an argument. */
#ifndef PROBE_SILENCE_H
#define PROBE_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Others may read these members; only silence.c writes them. */
struct silence {
    int64_t hung_after_ns; /* HEALTH_HUNG_AFTER */
    int64_t repeat_ns;     /* time between two convictions in one silence */
    int64_t longest_ns;    /* the conviction comes after this even if bytes arrive */
    int64_t since_ns;      /* since when the server owes an answer; CLOCK_NEVER: it owes none */
    int64_t heard_ns;      /* when its last bytes came */
    int64_t not_before_ns; /* no silence begins earlier: the server spoke then, or we did not run */
    int64_t ended_ns;      /* when the last silence ended that was long enough for suspicion */
    int64_t lasted_ns;     /* how long it went on after the suspicion, which brought a newcomer */
    int64_t convicted_ns;  /* when the server was last convicted in this silence; 0: never */
    bool is_forgiven;      /* the limits have begun again, once, because we did not run */
};

struct silence silence_none(int64_t hung_after_ns, int64_t connect_timeout_ns, int64_t repeat_ns);

/* Begins a silence at since_ns, because the server owes an answer from then on. Does nothing if there is one
 * already, or if since_ns is in the future. */
void silence_begin(struct silence *silence, int64_t since_ns, int64_t now_ns);

/* Notes when bytes last came; any bytes count. */
void silence_hear(struct silence *silence, int64_t heard_ns);

/* Notes an answer to any question on any session. */
void silence_end(struct silence *silence, int64_t now_ns);

/* Notes that the server spoke without an answer: it refused a login, or ended a session. */
void silence_interrupt(struct silence *silence, int64_t now_ns);

/* Notes that this process did not run until now. */
void silence_forgive(struct silence *silence, int64_t now_ns);

/* Notes that the server is convicted now. The next conviction comes after repeat_ns if the silence lasts. */
void silence_convict(struct silence *silence, int64_t now_ns);

/* When to suspect the server, and when to convict it; CLOCK_NEVER: it owes no answer. */
int64_t silence_suspicion_ns(const struct silence *silence);
int64_t silence_conviction_ns(const struct silence *silence);

#endif
