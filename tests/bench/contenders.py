"""The programs that are compared: what each is, at which path nginx has it, and how its documentation starts it."""
import os
import shutil
import signal
import socket

from harness.cluster import ROOT, SERVER_USER
from harness.wait import wait_until

from . import load

PEERS = os.path.join(ROOT, "tests", "bench", "peers")


class Contender:
    def __init__(self, name, label, path):
        self.name, self.label, self.path = name, label, path
        self.root_pid = None

    def cpu_seconds(self):
        return load.cpu_seconds(self.root_pid) if self.root_pid else 0.0

    def wait_ready(self, stage):
        wait_until(lambda: stage.nginx.ask(self.path).status == 200, 30, f"{self.label} answers 200")


def all_of_them():
    """Returns the programs in the order of the table."""
    return {c.name: c for c in (
        Contender("nginx", "nginx return 200", "/bench/nginx"),
        Contender("least", "least FastCGI responder (C, epoll)", "/bench/least"),
        Contender("health", "health-api", "/api/health"),
        Contender("threads", "libfcgi threads, keep-alive", "/bench/threads"),
        Contender("threads_no_keepalive", "libfcgi threads, a connection each", "/bench/threads-no-keepalive"),
        Contender("go_cached", "Go net/http, cached", "/bench/go/cached"),
        Contender("php_ping", "php-fpm ping page", "/bench/php"),
        Contender("fastapi_cached", "FastAPI, cached", "/bench/fastapi/cached"),
        Contender("go_query", "Go net/http + pgx, per request", "/bench/go/query"),
        Contender("fastapi_query", "FastAPI + asyncpg, per request", "/bench/fastapi/query"),
        Contender("cgi_script", "fcgiwrap + shell + psql", "/bench/script"),
    )}


def upstream(name, path):
    return f'    upstream {name} {{ server "unix:{path}" max_fails=0; keepalive 16; }}\n'


def location(path, body):
    return f"location = {path} {{\n{body}\n}}\n"


def nginx_text(stage, nginx, body):
    """Returns nginx's upstreams and locations. nginx keeps the connections to a backend that supports it."""
    no_keepalive = ("fastcgi_keep_conn on;", "fastcgi_keep_conn off;")
    names = ("least", "threads", "threads_no_keepalive", "go", "fastapi", "php", "script",
             *(f"{kind}_{n}" for kind in ("health", "least") for n in (1, 10, 100)))
    upstreams = "".join(upstream(f"bench_{name}", stage.path(f"{name}.sock")) for name in names)
    proxied = ('proxy_http_version 1.1; proxy_set_header Connection ""; access_log off;'
               "proxy_pass http://bench_{}/{};")
    text = location("/bench/nginx", "default_type application/json; include health-api.headers; access_log off; "
                                    f"return 200 '{body}';")
    text += location("/bench/least", nginx.fastcgi("bench_least"))
    text += location("/bench/threads", nginx.fastcgi("bench_threads"))
    text += location("/bench/threads-no-keepalive", nginx.fastcgi("bench_threads_no_keepalive", no_keepalive))
    # A process of php-fpm or fcgiwrap serves one connection at a time, so a kept one would block the others.
    text += location("/bench/php", nginx.fastcgi(
        "bench_php", no_keepalive, script_name="/ping", param="SCRIPT_FILENAME /ping"))
    text += location("/bench/script", nginx.fastcgi(
        "bench_script", no_keepalive, ("fastcgi_read_timeout 1s;", "fastcgi_read_timeout 60s;"),
        script_name="/health.sh", param=f'SCRIPT_FILENAME "{os.path.join(PEERS, "health.sh")}"'))
    for name in ("go", "fastapi"):
        for page in ("cached", "query"):
            text += location(f"/bench/{name}/{page}", proxied.format(name, page))
    for kind in ("health", "least"):
        for n in (1, 10, 100):
            text += location(f"/bench/{kind}-{n}", nginx.fastcgi(f"bench_{kind}_{n}"))
    return upstreams, text


def start_on_socket(stage, name, argv, **kwargs):
    """Starts argv with a listening socket as descriptor 0, as spawn-fcgi and systemd do."""
    path = stage.path(f"{name}.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(4096)
        os.chmod(path, 0o666)
        return stage.start(argv, stdin=listener, env=stage.environment(), **kwargs)


def start_least(stage, name, answer):
    return start_on_socket(stage, name, [stage.program("least"), answer])


def start_go(stage):
    return start_on_socket(stage, "go", [stage.program("go-pgx")])


def start_php(stage):
    found = sorted(name for name in os.listdir("/usr/sbin") if name.startswith("php-fpm"))
    with open(os.path.join(PEERS, "php-fpm.conf.in"), encoding="utf-8") as file:
        text = file.read().replace("@RUN@", stage.directory).replace("@USER@", "user = nobody" if SERVER_USER else "")
    with open(stage.path("php-fpm.conf"), "w", encoding="utf-8") as file:
        file.write(text)
    return stage.start([f"/usr/sbin/{found[-1]}", "--nodaemonize", "--fpm-config", stage.path("php-fpm.conf")])


def start_fastapi(stage):
    # One worker is uvicorn's default. Two would share the two cores with nginx and wrk, and the table compares the CPU
    # per request of one process. uvloop and httptools are installed, so uvicorn uses them.
    environment = {**stage.environment(), "PYTHONPATH": PEERS, "PYTHONDONTWRITEBYTECODE": "1"}
    return stage.start(["/usr/bin/python3", "-m", "uvicorn", "health_fastapi:app", "--no-access-log", "--uds",
                        stage.path("fastapi.sock")], env=environment)


def start_all(stage, contenders, answer):
    """Starts every peer, and waits until each answers through nginx. Returns name -> process."""
    # libfcgi's threads still accept after a SIGTERM.
    threads = {name: start_on_socket(stage, name, [stage.program("threads"), answer, *options],
                                     stop_signal=signal.SIGKILL)
               for name, options in (("threads", ["keep"]), ("threads_no_keepalive", []))}
    go, fastapi = start_go(stage), start_fastapi(stage)
    wrapper = shutil.which("fcgiwrap", path=os.environ["PATH"] + ":/usr/sbin")
    wrapped = start_on_socket(stage, "script", [wrapper, "-f", "-c", "4"])
    started = {"least": start_least(stage, "least", answer), **threads, "go_cached": go, "go_query": go,
               "fastapi_cached": fastapi, "fastapi_query": fastapi, "php_ping": start_php(stage),
               "cgi_script": wrapped}
    for name, process in started.items():
        contenders[name].root_pid = process.pid
    for contender in contenders.values():
        contender.wait_ready(stage)
    return started
