/* The unit's own listener, asked past every proxy before anything is killed. Main thread; takes as long as
 * the limits of the watch file. */
#ifndef WATCHDOG_LISTENER_H
#define WATCHDOG_LISTENER_H

#include "watchdog/rogue.h"
#include "watchdog/survey.h"

enum listener_answer {
    LISTENER_NOT_ASKED, /* none is named, or it cannot be asked from here */
    LISTENER_GONE,      /* nobody listens there */
    LISTENER_SILENT,    /* no answer in time; without listener_protocol: nobody takes a connection */
    LISTENER_ACCEPTS,   /* connections are taken; no more is known */
    LISTENER_ANSWERS,   /* in its protocol, whatever the answer is */
};

/* Asks for the first liveness route that is dead in look, by listener_protocol. Without that no byte is sent,
 * and whether somebody accepts the connection is all that is known; so is it where no listener is named and
 * base_url is the unit's own socket (direct). */
enum listener_answer listener_ask(const struct watch *watch, const struct survey *look, bool direct);

#endif
