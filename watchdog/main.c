/* health-watch: reads the watch file, then makes one run or checks the file. Main thread; owns the arguments,
 * the output and the exit code. */
#include "common/buf.h"
#include "common/descriptor.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/text.h"
#include "common/version.h"
#include "watchdog/check.h"
#include "watchdog/patrol.h"
#include "watchdog/watchfile.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/health-watch/watch.conf"

/* systemctl status shows this much of a report: two or three lines of a terminal. */
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
         "Requests the routes in FILE (default " DEFAULT_FILE ") as an outside client\n"
         "would, and reports which of them fail. Recovers a service that hangs: kills its main process,\n"
         "starts it and waits until it answers. Makes one run; health-watch.timer repeats it.\n"
         "Needs root, except with --dry-run, --check-config or a FILE without 'unit'.\n"
         "\n"
         "  --dry-run       report what a run would do, and do nothing; takes no lock\n"
         "  --verbose       print a line for each route\n"
         "  --json          print one JSON document\n"
         "  --check-config  check FILE, and warn about problems with units, the timer and paths\n"
         "  --version       print the version\n"
         "  --help          print this text\n"
         "\n"
         "FILE has lines 'KEY VALUE' and 'core|aux PATH [OPTION]...'; # starts a comment. A core route\n"
         "that fails is critical; an aux route that fails is a warning. Options of a route:\n"
         "\n"
         "  codes LIST      accept these status codes, such as 200-299,304\n"
         "  timeout T       limit for a complete request to this route\n"
         "  json KEY=VALUE  require a JSON body of at most 64 KiB with this value; a.b is b within a,\n"
         "                  a.0 is the first item of the array a\n"
         "  liveness        core routes only: if this route is silent, the service hangs; if no route\n"
         "                  has this option, all core routes count\n"
         "  follow          follow at most 5 redirects\n"
         "\n"
         "Keys with their defaults; durations take a unit: ms, s, m, h:\n");
    watchfile_print_keys(stdout);
    puts("\n"
         "Exit codes, the same as those of monitoring plugins: 0 all is well; 1 warning: an aux route\n"
         "fails, a liveness route is rate-limited, or a recovery succeeded; 2 critical: a core route fails,\n"
         "a rogue holds the listener, a recovery failed, or the budget is spent; 3 unknown: health-watch\n"
         "cannot tell, or FILE or the usage is bad. Without --verbose the first line says what is wrong.\n"
         "--check-config exits with 0, with 1 after warnings, and with 3 if FILE is bad.");
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
            fputs("health-watch: --nagios was removed: plugins use the exit code and the first line\n",
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

/* Prints a report, and passes its first STATUS_MAX_BYTES to systemctl status. If the journal reads the
 * output, each line begins with the level (sd-daemon(3)). */
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
    text_clean(status.data); /* the cut may split a UTF-8 character, which systemd would refuse */
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
    descriptor_open_standard(O_RDWR);
    signal(SIGPIPE, SIG_IGN);
    /* If the parent ignores SIGCHLD, this program would not see the exit of its children (wait(2)). */
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
        fputs("health-watch: cannot write the report\n", stderr);
        level = judge_worse(level, JUDGE_NO_IDEA);
    }
    return (int)level;
}
