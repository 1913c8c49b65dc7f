/* Asks systemd about units and gives it orders, with systemctl(1) of version 252 or later. Main thread; each
 * call returns within UNIT_TIMEOUT_MS and the time to reap a killed systemctl. */
#ifndef WATCHDOG_UNIT_H
#define WATCHDOG_UNIT_H

#include "common/buf.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* systemd answers within a few ms, since no order waits for its job. */
#define UNIT_TIMEOUT_MS 5000

enum unit_load {
    UNIT_LOADED,
    UNIT_NOT_FOUND,
    UNIT_MASKED,
    UNIT_BAD, /* systemd cannot load its file */
};

/* The ActiveState of systemd; the restart loop has a state of its own. */
enum unit_state {
    UNIT_INACTIVE, /* stopped, exited cleanly, or never started */
    UNIT_FAILED,   /* exited with a failure, and systemd does not start it again */
    UNIT_STARTING,
    UNIT_RUNNING, /* active or reloading */
    UNIT_STOPPING,
    UNIT_RESTARTING, /* auto-restart: it has exited, and systemd will start it after RestartSec= */
    UNIT_ODD,        /* a state that this program does not know */
};

struct unit_status {
    char id[256]; /* its main name, which an alias may stand for */
    enum unit_load load;
    enum unit_state state;
    char active[32];         /* ActiveState, such as "active" */
    char sub[32];            /* SubState, such as "running" */
    char result[32];         /* how it exited last: "success", "exit-code", "signal", ... */
    pid_t main_pid;          /* 0: it has none, or systemd does not know it */
    int64_t started_ms;      /* how long ago its main process was started; INT64_MAX: never */
    int64_t start_us;        /* when, on CLOCK_MONOTONIC; identifies a process with main_pid; 0: never */
    int64_t restarts;        /* by systemd itself, since the last start by hand */
    int64_t job;             /* the number of its job, queued or running; 0: none */
    bool restarts_itself;    /* by its Restart=, systemd starts it again after a SIGKILL */
    bool needs_reload;       /* its file has changed since systemd loaded it */
    char file[32];           /* UnitFileState: "enabled", "disabled", ...; "": it has no file */
    char control_group[512]; /* as in /proc/PID/cgroup; "": it has none now */
    char slice[256];         /* where its control group is when it runs; "": it never has one */
};

enum unit_answer {
    UNIT_OK,
    UNIT_REFUSED, /* systemctl failed, or its output makes no sense */
    UNIT_SILENT,  /* systemctl did not exit in time, or does not exist */
};

/* Parses the output of "systemctl show"; now_us is its time on CLOCK_MONOTONIC. False: err names a property
 * that is missing or malformed. Pure. */
__attribute__((warn_unused_result)) bool unit_parse(const char *text, int64_t now_us, struct unit_status *out,
                                                    struct error *err);

/* Asks systemd about a unit. For one that does not exist it returns UNIT_OK, and out->load is UNIT_NOT_FOUND.
 * Here and below, err says why the result is not UNIT_OK. */
__attribute__((warn_unused_result)) enum unit_answer unit_show(const char *unit, struct unit_status *out,
                                                               struct error *err);

/* Appends a line NAME=VALUE for each of the properties, a list with commas. */
__attribute__((warn_unused_result)) enum unit_answer
unit_show_properties(const char *unit, const char *properties, struct buf *out, struct error *err);

/* Finds the value of a property in such lines. False: it is missing or too long, and out is unchanged. Pure.
 */
__attribute__((warn_unused_result)) bool unit_get(const char *text, const char *name, char *out,
                                                  size_t out_size);

/* The share of the last 10 s, in per cent, in which all runnable processes of the unit waited for a
 * processor. This is "full" of its control group, but no more than "some" of the whole machine
 * (https://docs.kernel.org/accounting/psi.html), so that a limit of the unit's own (CPUQuota=) does not
 * count. 0 if the kernel does not report it. */
int unit_cpu_pressure(const struct unit_status *unit);

/* The 10 s average of the line "full" or "some" in the text of cpu.pressure; 0 if there is none. Pure. */
int unit_parse_pressure(const char *text, const char *line);

/* Orders to systemd. In a restart loop only UNIT_RESTART takes effect before RestartSec= has passed: systemd
 * keeps a start job queued until then (service.c of systemd). */
enum unit_order {
    UNIT_KILL_MAIN, /* SIGKILL to the main process; systemd finds it, so no pid can be out of date */
    UNIT_KILL_ALL,  /* SIGKILL to every process of its control group */
    UNIT_RESET,     /* a failed unit becomes inactive, and its start limit counts from 0 */
    UNIT_START,     /* queues a job and does not wait for it */
    UNIT_RESTART,   /* queues a job and does not wait for it */
};

__attribute__((warn_unused_result)) enum unit_answer unit_order(enum unit_order order, const char *unit,
                                                                struct error *err);

#endif
