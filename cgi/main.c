/* The program health-api: chooses the mode from the arguments and the environment, connects the parts, and
 * maps their results to exit codes. Runs on the main thread; owns the listener, the snapshot slot and the
 * prober. */
#include "cgi/ask.h"
#include "cgi/checksfile.h"
#include "cgi/config.h"
#include "cgi/oneshot.h"
#include "cgi/probe/prober.h"
#include "cgi/serve/listen.h"
#include "cgi/serve/process.h"
#include "cgi/serve/server.h"
#include "common/clock.h"
#include "common/descriptor.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/version.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

/* How long a clean exit waits for the prober to close its sessions. */
#define PROBER_GOODBYE_MS 100

/* How long the program delays its exit after a bad configuration when a service manager runs it. The manager
 * starts it again without end, and each start logs an error. */
#define BAD_CONFIG_HOLD_S 10

/* How many descriptors all modules hold without a FastCGI connection. */
#define BASE_FDS                                                                                             \
    (STANDARD_FDS + NOTIFY_FDS + SNAPSHOT_FDS + PROBER_FDS + LISTEN_FDS + PROCESS_FDS + SERVER_FDS)

#define USAGE "health-api [--ask [PATH?QUERY] | --once [?QUERY] | --check-config | --version | --help]"

enum mode {
    MODE_SERVE,
    MODE_CGI,
    MODE_ASK,
    MODE_ONCE,
    MODE_CHECK_CONFIG,
    MODE_VERSION,
    MODE_HELP,
};

static void print_help(void)
{
    puts("Usage: " USAGE "\n"
         "\n"
         "Answers /api/health, /api/status, /api/health/live and /api/metrics over FastCGI with the\n"
         "health of a PostgreSQL database. Runs as a CGI program when GATEWAY_INTERFACE is set and\n"
         "fd 0 is not a listening socket.\n"
         "\n"
         "  --ask           ask the instance that runs for PATH?QUERY, default /api/health, over its\n"
         "                  socket; print the body, exit 0 for 2xx, 1 for any other answer, 69 if\n"
         "                  there is none within 2 s\n"
         "  --once          probe once, print the /api/health document for ?QUERY, exit 0 healthy or\n"
         "                  1 degraded\n"
         "  --check-config  read the settings and the checks file, report any error, exit 0 or 78\n"
         "  --version       print the version\n"
         "  --help          print this help\n"
         "\n"
         "Listens on HEALTH_LISTEN, else systemd's socket, else fd 0, else\n" CONFIG_DEFAULT_LISTEN ".\n"
         "libpq reads its own variables: PGHOST PGPORT PGDATABASE PGUSER PGPASSFILE PGSERVICE ...\n"
         "Durations need a unit: ms, s, m or h. Settings (environment variables):\n");
    config_print_help(stdout);
    puts("\n"
         "Signals: SIGHUP makes the program read the checks file again. SIGTERM, SIGINT and SIGUSR1\n"
         "stop it; a second one ends the drain.\n"
         "Exit codes: 0; 1 degraded or runtime failure; 64 usage; 69 another live process holds the\n"
         "socket, or nobody answers --ask; 78 configuration.");
}

/* *argument is the word after the option, or NULL. False: the error is printed. */
static bool choose_mode(int argc, char **argv, enum mode *mode, const char **argument)
{
    static const struct {
        const char *option;
        enum mode mode;
        int max_arguments; /* words after the option */
    } modes[] = {
        {"--ask", MODE_ASK, 1},         {"--once", MODE_ONCE, 1}, {"--check-config", MODE_CHECK_CONFIG, 0},
        {"--version", MODE_VERSION, 0}, {"--help", MODE_HELP, 0},
    };
    const size_t count = sizeof modes / sizeof modes[0];

    *argument = NULL;
    *mode = getenv("GATEWAY_INTERFACE") != NULL && !listen_is_inherited() ? MODE_CGI : MODE_SERVE;
    /* RFC 3875, 4.4: a CGI server may pass a query without "=" as arguments. They are not options. */
    if (argc <= 1 || *mode == MODE_CGI)
        return true;
    size_t i = 0;
    while (i < count && strcmp(argv[1], modes[i].option) != 0)
        i++;
    int expected = i < count ? 2 + modes[i].max_arguments : 1; /* words of argv */
    if (argc > 2 && i < count && modes[i].mode == MODE_ONCE && argv[2][0] != '?')
        expected = 2; /* it is no query string */
    if (argc > expected) {
        fprintf(stderr, "health-api: unexpected argument '%s', expected " USAGE "\n", argv[expected]);
        return false;
    }
    *mode = modes[i].mode;
    *argument = argv[2]; /* argv ends with a NULL */
    return true;
}

/* Serves until the server stops. Gives the prober the new checks after each SIGHUP. */
static int run_server(struct server *server, struct prober *prober)
{
    struct checks checks;
    while (server_run(server, &checks) == SERVER_NEW_CHECKS)
        prober_set_checks(prober, &checks);
    return server_close(server);
}

static int listen_exit_code(enum listen_status status)
{
    switch (status) {
    case LISTEN_OK: return EXIT_SUCCESS;
    case LISTEN_HELD: return EX_UNAVAILABLE;
    case LISTEN_CONFIG: return EX_CONFIG;
    case LISTEN_FAILED: break;
    }
    return EXIT_FAILURE;
}

/* Reports why the program does not start: in the log, and in the status that the manager shows. */
static void report_failure(const char *event, const struct error *err)
{
    char status_line[sizeof err->text + 16];
    log_event(LOG_LEVEL_ERROR, event, LOG_STR("error", err->text));
    snprintf(status_line, sizeof status_line, "STATUS=%s", err->text);
    (void)notify_send(status_line);
}

/* Waits under a manager. Returns the exit code: 0 if a signal asks for a stop. It waits for that signal,
 * because the kernel does not let a signal without a handler end the first process of a container,
 * pid_namespaces(7). */
static int hold_exit(void)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGUSR1};
    const struct timespec hold = {.tv_sec = BAD_CONFIG_HOLD_S};
    sigset_t set;
    if (!notify_is_on())
        return EX_CONFIG;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++)
        sigaddset(&set, stops[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return sigtimedwait(&set, NULL, &hold) > 0 ? EXIT_SUCCESS : EX_CONFIG;
}

static int serve(const struct config *config, struct checks *checks, int64_t started_ns, int64_t watchdog_ns)
{
    struct listener listener = {.fd = -1};
    struct snapshot_slot *slot = NULL;
    struct prober *prober = NULL;
    struct error err = {0};
    int exit_code = EXIT_FAILURE;

    if (!server_prepare(&err))
        goto out;
    enum listen_status status = listen_open(config, &listener, &err);
    if (status != LISTEN_OK) {
        exit_code = listen_exit_code(status);
        goto out;
    }
    if (!process_drop_naming_capabilities()) {
        error_set(&err, "capabilities: %s", strerror(errno));
        goto out;
    }
    slot = snapshot_slot_new();
    if (slot == NULL) {
        error_set(&err, "eventfd: %s", strerror(errno));
        goto out;
    }
    prober = prober_start(config, checks, slot, &err);
    if (prober == NULL)
        goto out;
    struct server *server = server_open(&(struct server_options){.config = config,
                                                                 .listener = &listener,
                                                                 .slot = slot,
                                                                 .started_ns = started_ns,
                                                                 .watchdog_ns = watchdog_ns},
                                        &err);
    if (server == NULL)
        goto out;
    log_event(LOG_LEVEL_NOTICE, "server started", LOG_STR("version", HEALTH_VERSION),
              LOG_STR("listen", listener.name), LOG_STR("checks", config->checks_path),
              LOG_INT("pid", getpid()));
    exit_code = run_server(server, prober);
    log_event(LOG_LEVEL_NOTICE, "server stopped", LOG_INT("exit_code", exit_code));

out:
    if (err.text[0] != '\0')
        report_failure("start failed", &err);
    listen_close(&listener);
    if (prober != NULL && !prober_stop(prober, PROBER_GOODBYE_MS))
        _exit(exit_code); /* the prober hangs; exit(3) would free data that it still uses */
    snapshot_slot_free(slot);
    return exit_code;
}

static bool configure(enum mode mode, struct config *config, struct checks *checks, struct error *err)
{
    struct rlimit fds = {0};
    char *const *vars = environ;
    char name[128];

    /* The program serves without these, and reads the checks again without them. */
    if (mode == MODE_CHECK_CONFIG && !process_drop_naming_capabilities()) {
        error_set(err, "capabilities: %s", strerror(errno));
        return false;
    }
    while (config_next_unknown(&vars, name, sizeof name))
        log_event(LOG_LEVEL_WARN, "unknown setting ignored", LOG_STR("name", name));
    getrlimit(RLIMIT_NOFILE, &fds);
    if (!config_load(environ, (int64_t)fds.rlim_cur, BASE_FDS, config, err))
        return false;
    log_init(config->log_level);
    return checksfile_read(config->checks_path, checks, err) &&
           (mode != MODE_CHECK_CONFIG || listen_check_group(config, err));
}

static int run_mode(enum mode mode, const char *argument, int64_t started_ns)
{
    struct config config;
    struct checks checks = {0};
    struct error err = {0};
    int exit_code = EX_CONFIG;

    log_init(LOG_LEVEL_INFO);
    int64_t watchdog_ns = mode == MODE_SERVE ? notify_init() : 0;
    bool is_configured = configure(mode, &config, &checks, &err);
    if (!is_configured)
        report_failure("configuration refused", &err);
    if (mode == MODE_CHECK_CONFIG)
        config_print_unread_file("check the settings of the service", "--check-config", stderr);
    if (mode == MODE_CGI && !is_configured)
        oneshot_cgi_unconfigured();
    if (is_configured) {
        switch (mode) {
        case MODE_SERVE: exit_code = serve(&config, &checks, started_ns, watchdog_ns); break;
        case MODE_CGI: exit_code = oneshot_cgi(&config, &checks); break;
        case MODE_ONCE: exit_code = oneshot_print(&config, &checks, argument); break;
        case MODE_CHECK_CONFIG:
            printf("configuration ok, %zu checks\n", checks.count);
            exit_code = EXIT_SUCCESS;
            break;
        case MODE_ASK:
        case MODE_VERSION:
        case MODE_HELP: break;
        }
    }
    checks_free(&checks);
    if (mode == MODE_SERVE && exit_code == EX_CONFIG)
        exit_code = hold_exit();
    return exit_code;
}

int main(int argc, char **argv)
{
    int64_t started_ns = clock_now_ns();
    const char *argument;
    enum mode mode;

    descriptor_open_standard(O_RDONLY); /* a document that nobody gets is an error */
    if (!choose_mode(argc, argv, &mode, &argument))
        return EX_USAGE;
    if (mode == MODE_HELP) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (mode == MODE_VERSION) {
        puts("health-api " HEALTH_VERSION);
        return EXIT_SUCCESS;
    }
    if (mode == MODE_ASK)
        return ask_print(argument);
    return run_mode(mode, argument, started_ns);
}
