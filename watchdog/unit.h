/* Everything that the watchdog asks of systemd and tells it, by systemctl(1) of version 252 or later. Main
 * thread. Each call ends within UNIT_TIMEOUT_MS. */
#ifndef WATCHDOG_UNIT_H
#define WATCHDOG_UNIT_H

#include "common/buf.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A question to systemd is answered in some ms; none of the orders waits for its job. */
#define UNIT_TIMEOUT_MS 5000

enum unit_load {
    UNIT_LOADED,
    UNIT_NOT_FOUND,
    UNIT_MASKED,
    UNIT_BAD, /* a file that systemd cannot use */
};

/* ActiveState, with the restart loop as a state of its own. */
enum unit_state {
    UNIT_INACTIVE, /* stopped, ended cleanly, or never started */
    UNIT_FAILED,   /* ended badly, and nobody starts it again */
    UNIT_STARTING,
    UNIT_RUNNING, /* active or reloading */
    UNIT_STOPPING,
    UNIT_RESTARTING, /* auto-restart: ended, systemd is going to start it after RestartSec= */
    UNIT_ODD,        /* a state of another version */
};

struct unit_status {
    char id[256]; /* its name, where another one is an alias */
    enum unit_load load;
    enum unit_state state;
    char active[32]; /* "active" and "running" as systemd says it */
    char sub[32];
    char result[32];         /* why it ended last: "success", "exit-code", "signal", ... */
    pid_t main_pid;          /* 0: none, or not known to systemd */
    int64_t started_ms;      /* how long ago its main process was started; INT64_MAX: never */
    int64_t start_us;        /* when, on CLOCK_MONOTONIC: with main_pid it names one process; 0: never */
    int64_t restarts;        /* by systemd itself, since the last start by hand */
    int64_t job;             /* number of the order that is queued or carried out; 0: none */
    bool restarts_itself;    /* Restart= of its file: after a SIGKILL systemd starts it again */
    bool needs_reload;       /* its file on disk is newer than what systemd has loaded */
    char file[32];           /* UnitFileState: "enabled", "disabled", ...; "": none */
    char control_group[512]; /* as in /proc/PID/cgroup; "" when it has none now */
    char slice[256];         /* in which it has one when it runs; "" for a unit that never has */
};

enum unit_answer {
    UNIT_OK,
    UNIT_REFUSED, /* systemd or systemctl said no, or said something strange */
    UNIT_SILENT,  /* no answer in time, or there is no systemctl */
};

/* Text that "systemctl show" has printed, at a time of CLOCK_MONOTONIC in us -> status. Pure. False: a
 * property is missing or strange; err names it. */
__attribute__((warn_unused_result)) bool unit_parse(const char *text, int64_t now_us, struct unit_status *out,
                                                    struct error *err);

/* A unit that does not exist is UNIT_OK with UNIT_NOT_FOUND. Unless UNIT_OK is returned err says why, also
 * below. */
__attribute__((warn_unused_result)) enum unit_answer unit_show(const char *unit, struct unit_status *out,
                                                               struct error *err);

/* Appends lines NAME=VALUE for the properties, which are separated by commas. */
__attribute__((warn_unused_result)) enum unit_answer
unit_show_properties(const char *unit, const char *properties, struct buf *out, struct error *err);

/* The value of a property in such lines. False: it is missing, or does not fit; out is then as it was. Pure.
 */
__attribute__((warn_unused_result)) bool unit_get(const char *text, const char *name, char *out,
                                                  size_t out_size);

/* How much of the last 10 s all its processes that wanted to run waited for a processor, in per cent, on a
 * machine where others waited as well: a limit of its own (CPUQuota=) is no such wait. "full" of its control
 * group, at most "some" of the machine (https://docs.kernel.org/accounting/psi.html); 0 where the kernel does
 * not tell. */
int unit_cpu_pressure(const struct unit_status *unit);

/* The average of 10 s in the text of cpu.pressure, of the line "full" or "some"; 0 without it. Pure. */
int unit_parse_pressure(const char *text, const char *line);

/* What systemd can be told. A restart is in a restart loop the only order that does not wait for RestartSec=
 * (service.c of systemd: a start job stays queued until the restart timer ends). */
enum unit_order {
    UNIT_KILL_MAIN, /* SIGKILL to the main process, chosen by systemd itself so that no pid is read first */
    UNIT_KILL_ALL,  /* SIGKILL to every process of its control group */
    UNIT_RESET,     /* forgets that it failed, and the count of its start limit: it counts as stopped */
    UNIT_START,     /* queued */
    UNIT_RESTART,   /* queued */
};

/* Unless it returns UNIT_OK err says why. */
__attribute__((warn_unused_result)) enum unit_answer unit_order(enum unit_order order, const char *unit,
                                                                struct error *err);

#endif
