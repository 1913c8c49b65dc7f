/* health-watch: reads the watch file and makes one run, or checks the file. Owns the exit codes. */
#include "common/buf.h"
#include "common/log.h"
#include "common/version.h"
#include "watchdog/patrol.h"
#include "watchdog/unit.h"
#include "watchdog/watchfile.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/health-watch/watch.conf"

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
         "Needs root, but with --dry-run, --check-config or a FILE without 'unit'.\n"
         "\n"
         "  --dry-run       say what would be done, do nothing; takes no lock\n"
         "  --verbose       a line for each route\n"
         "  --json          one JSON document\n"
         "  --nagios        as a monitoring plugin prints it, with performance data\n"
         "  --check-config  read FILE, compare loaded units with their files on disk\n"
         "  --version       print the version\n"
         "  --help          print this\n"
         "\n"
         "FILE has lines 'KEY VALUE' and 'core|aux PATH [OPTION]...'; # begins a remark. A core\n"
         "route that fails is critical, an aux route a warning. Options of a route:\n"
         "\n"
         "  codes LIST      accepted status codes, such as 200-299,304\n"
         "  timeout T       limit for a whole request to it\n"
         "  json KEY=VALUE  the body, at most 64 KiB, is JSON that has this; a.b is b within a\n"
         "  liveness        core only: its silence means that the service hangs; without any such\n"
         "                  route all core routes count\n"
         "  follow          follow redirects, at most 5\n"
         "\n"
         "Keys with their defaults; durations take a unit: ms, s, m, h:\n");
    watchfile_print_keys(stdout);
    puts("\n"
         "Exit codes: 0 fine (rate-limited routes included); 1 warning: an aux route fails, or a\n"
         "recovery went well; 2 critical: a core route fails, a rogue holds the listener, a recovery\n"
         "failed or the budget is spent; 3 cannot tell, bad configuration or usage. --check-config:\n"
         "0; 1 a unit differs from its file on disk or does not exist; 3 FILE is bad.");
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
        case NAGIOS: out->options.format = PATROL_NAGIOS; break;
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

static bool load(const char *file, struct watch *out, struct error *err)
{
    struct buf text = {0};
    bool ok = buf_read_file(&text, file, WATCHFILE_MAX_BYTES, err) &&
              watchfile_parse(text.data, text.len, file, out, err);
    buf_free(&text);
    return ok;
}

/* How many warnings it printed: 0 or 1. */
static int check_unit(const char *unit, bool must_exist)
{
    struct unit_status status;
    struct error err = {0};
    enum unit_answer answer = unit_show(unit, &status, &err);
    if (answer != UNIT_OK) {
        printf("note: cannot ask systemd for %s: %s\n", unit, err.text);
        return 0;
    }
    if (must_exist && status.load != UNIT_LOADED) {
        printf("warning: %s %s\n", unit,
               status.load == UNIT_MASKED      ? "is masked: it will never be recovered"
               : status.load == UNIT_NOT_FOUND ? "does not exist"
                                               : "cannot be loaded");
        return 1;
    }
    if (status.needs_reload) {
        printf("warning: %s has changed on disk since systemd read it: run systemctl daemon-reload\n", unit);
        return 1;
    }
    return 0;
}

static enum judge_level check_config(const char *file, const struct watch *watch)
{
    int warnings = 0;
    size_t core = 0;
    for (size_t i = 0; i < watch->route_count; i++)
        core += watch->routes[i].class == WATCH_CORE;
    printf("%s: ok, %zu routes, %zu of them core, recovers %s\n", file, watch->route_count, core,
           watch->unit != NULL ? watch->unit : "nothing");
    if (watch->unit != NULL)
        warnings += check_unit(watch->unit, true);
    warnings += check_unit("health-watch.timer", false);
    warnings += check_unit("health-watch.service", false);
    return warnings > 0 ? JUDGE_WARNING : JUDGE_FINE;
}

static enum judge_level run(const struct arguments *arguments)
{
    struct watch watch;
    struct error err = {0};
    struct buf out = {0};
    enum judge_level level;
    if (!load(arguments->file, &watch, &err)) {
        fprintf(stderr, "health-watch: %s\n", err.text);
        return JUDGE_NO_IDEA;
    }
    if (arguments->check_config) {
        level = check_config(arguments->file, &watch);
    } else {
        level = patrol_run(&watch, &arguments->options, &out);
        fwrite(out.data, 1, out.len, stdout);
    }
    buf_free(&out);
    watchfile_free(&watch);
    return level;
}

/* Descriptors 0 to 2 exist from here on, so that no socket ever gets one of their numbers. */
static void open_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    enum judge_level level = JUDGE_FINE;
    open_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_LEVEL_NOTICE);
    if (!parse_arguments(argc, argv, &arguments))
        return JUDGE_NO_IDEA;
    if (arguments.help)
        print_help();
    else if (arguments.version)
        puts("health-watch " HEALTH_VERSION);
    else
        level = run(&arguments);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("health-watch: the report could not be written\n", stderr);
        level = judge_worse(level, JUDGE_NO_IDEA);
    }
    return (int)level;
}
