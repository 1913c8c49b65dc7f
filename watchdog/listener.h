/* Asks the unit's own listener, without a proxy in between, before health-watch kills anything. Main thread;
 * blocks no longer than the timeouts of the watch file. */
#ifndef WATCHDOG_LISTENER_H
#define WATCHDOG_LISTENER_H

#include "watchdog/rogue.h"
#include "watchdog/survey.h"

enum listener_answer {
    LISTENER_NOT_ASKED, /* the watch file names none, or this machine failed to ask */
    LISTENER_GONE,      /* no process listens there */
    LISTENER_SILENT,    /* no answer in time; without listener_protocol: no connection was accepted */
    LISTENER_ACCEPTS,   /* it accepts connections; more is not known */
    LISTENER_ANSWERS,   /* it sent a response, whatever that says */
};

/* Asks the listener, in its listener_protocol, for the first liveness route that is dead in look. Without
 * a protocol it sends no byte, and only finds out whether the listener accepts a connection. direct: base_url
 * is the unit's own socket; health-watch uses it when the watch file names no listener. */
enum listener_answer listener_ask(const struct watch *watch, const struct survey *look, bool direct);

#endif
