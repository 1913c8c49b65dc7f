/* health-watch: reads the watch file and makes one run, or checks the file. Owns the exit codes. */
#include "common/buf.h"
#include "common/descriptor.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/text.h"
#include "common/version.h"
#include "watchdog/check.h"
#include "watchdog/patrol.h"
#include "watchdog/watchfile.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/health-watch/watch.conf"

/* The status of the unit: two or three lines of a terminal. */
#define STATUS_MAX_BYTES 200

struct arguments {
    const char *file;
    struct patrol_options options;
    bool check_config;
    bool help;
    bool version;
};

static void print_help(void)
{
    puts("Usage: health-watch [OPTION]... [FILE]\n"
         "\n"
         "Asks the routes that FILE names (default " DEFAULT_FILE ") from outside, up to\n"
         "'concurrency' at once, says which are not fine, and recovers a service that hangs: kills its\n"
         "main process, starts it, waits for the answer. One run; health-watch.timer repeats it.\n"
         "Needs root, except with --dry-run, --check-config or a FILE without 'unit'.\n"
         "\n"
         "  --dry-run       say what would be done, do nothing; takes no lock\n"
         "  --verbose       a line for each route\n"
         "  --json          one JSON document\n"
         "  --check-config  read FILE; warn of units, the timer and paths that are not as it needs\n"
         "  --version       print the version\n"
         "  --help          print this\n"
         "\n"
         "FILE has lines 'KEY VALUE' and 'core|aux PATH [OPTION]...'; # begins a remark. A core\n"
         "route that fails is critical, an aux route a warning. Options of a route:\n"
         "\n"
         "  codes LIST      accepted status codes, such as 200-299,304\n"
         "  timeout T       limit for a whole request to it\n"
         "  json KEY=VALUE  the body, at most 64 KiB, is JSON that has this; a.b is b within a,\n"
         "                  a.0 the first in the array a\n"
         "  liveness        core only: its silence means that the service hangs; without any such\n"
         "                  route all core routes count\n"
         "  follow          follow redirects, at most 5\n"
         "\n"
         "Keys with their defaults; durations take a unit: ms, s, m, h:\n");
    watchfile_print_keys(stdout);
    puts("\n"
         "Exit codes, as monitoring plugins have them: 0 fine; 1 warning: an aux route fails, a liveness\n"
         "route is rate-limited, a recovery went well; 2 critical: a core route fails, a rogue holds\n"
         "the listener, a recovery failed or the budget is spent; 3 cannot tell, bad configuration or\n"
         "usage. Without --verbose the first line says what is wrong. --check-config: 0; 1 with warnings; 3 "
         "FILE is bad.");
}

static bool parse_arguments(int argc, char **argv, struct arguments *out)
{
    enum { DRY_RUN = 256, VERBOSE, JSON, NAGIOS, CHECK, VERSION, HELP };
    static const struct option options[] = {
        {"dry-run", no_argument, NULL, DRY_RUN},    {"verbose", no_argument, NULL, VERBOSE},
        {"json", no_argument, NULL, JSON},          {"nagios", no_argument, NULL, NAGIOS},
        {"check-config", no_argument, NULL, CHECK}, {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, HELP},          {NULL, 0, NULL, 0},
    };
    int option;
    *out = (struct arguments){.file = DEFAULT_FILE};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case DRY_RUN: out->options.dry_run = true; break;
        case VERBOSE: out->options.format = PATROL_VERBOSE; break;
        case JSON: out->options.format = PATROL_JSON; break;
        case NAGIOS:
            fputs(
                "health-watch: --nagios is gone: the exit code and the first line are what a plugin needs\n",
                stderr);
            break;
        case CHECK: out->check_config = true; break;
        case VERSION: out->version = true; break;
        case HELP: out->help = true; break;
        default: fputs("Try health-watch --help\n", stderr); return false;
        }
    }
    if (argc - optind > 1) {
        fprintf(stderr, "health-watch: unexpected argument '%s', expected one FILE\n", argv[optind + 1]);
        return false;
    }
    if (argc > optind)
        out->file = argv[optind];
    return true;
}

static bool load_watch_file(const char *file, struct watch *out, struct error *err)
{
    struct buf text = {0};
    bool ok = buf_read_file(&text, file, WATCHFILE_MAX_BYTES, err) &&
              watchfile_parse(text.data, text.len, file, out, err);
    buf_free(&text);
    return ok;
}

/* Prints a report, with its level before each line if the journal reads it, sd-daemon(3), and shows it in
 * systemctl status as far as it fits. */
static void publish(enum judge_level level, const char *report, FILE *to)
{
    static const enum log_level levels[] = {[JUDGE_FINE] = LOG_LEVEL_INFO,
                                            [JUDGE_WARNING] = LOG_LEVEL_WARN,
                                            [JUDGE_CRITICAL] = LOG_LEVEL_ERROR,
                                            [JUDGE_NO_IDEA] = LOG_LEVEL_WARN};
    bool to_journal = log_journal_reads(fileno(to));
    const char *separator = ": ";
    struct buf status = {0};
    buf_appendf(&status, "STATUS=%s", judge_level_name(level));
    while (*report != '\0') {
        int len = (int)strcspn(report, "\n");
        if (to_journal)
            fprintf(to, "<%d>", (int)levels[level]);
        fprintf(to, "%.*s\n", len, report);
        buf_appendf(&status, "%s%.*s", separator, len, report);
        separator = "; ";
        report += report[len] == '\n' ? len + 1 : len;
    }
    if (status.len > STATUS_MAX_BYTES)
        status.data[STATUS_MAX_BYTES] = '\0';
    text_clean(status.data); /* what was cut within a UTF-8 character, which systemd would refuse */
    (void)notify_send(status.data);
    buf_free(&status);
}

static enum judge_level run_or_check(const struct arguments *arguments)
{
    struct watch watch = {0};
    struct error err = {0};
    struct buf out = {0};
    enum judge_level level = JUDGE_NO_IDEA;
    if (!load_watch_file(arguments->file, &watch, &err)) {
        buf_appendf(&out, "health-watch: %s\n", err.text);
        publish(level, out.data, stderr);
    } else if (arguments->check_config) {
        level = check_config(arguments->file, &watch);
    } else {
        level = patrol_run(&watch, &arguments->options, &out);
        publish(level, out.data, stdout);
    }
    buf_free(&out);
    watchfile_free(&watch);
    return level;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    enum judge_level level = JUDGE_FINE;
    descriptor_open_standard();
    signal(SIGPIPE, SIG_IGN);
    /* Inherited as ignored it would keep the ends of our children from us (wait(2)). */
    signal(SIGCHLD, SIG_DFL);
    log_init(LOG_LEVEL_NOTICE);
    (void)notify_init();
    if (!parse_arguments(argc, argv, &arguments))
        return JUDGE_NO_IDEA;
    if (arguments.help)
        print_help();
    else if (arguments.version)
        puts("health-watch " HEALTH_VERSION);
    else
        level = run_or_check(&arguments);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("health-watch: the report could not be written\n", stderr);
        level = judge_worse(level, JUDGE_NO_IDEA);
    }
    return (int)level;
}
