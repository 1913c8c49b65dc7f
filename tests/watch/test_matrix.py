"""What health-watch does, by what fails and by what it knows of the unit's own listener. These are cells of
tests/unit/watchdog/test_matrix.c with a real nginx and a real backend in a control group of its own. health-watch never
kills a backend that is well."""
import contextlib
import os
import shutil
import signal
import socket
import sys
import threading

import pytest

from harness import process
from harness import watchdog as w
from harness.backend import CHECKS, Backend
from harness.cgroup import Cgroup
from harness.wait import hold_for, wait_until
from harness.webserver import Nginx, WebServer, free_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a control group for the backend needs root")

# A backend that does what a file says: hang, slow, or a status code; it answers 200 when the file is empty.
BACKEND = """
import http.server, sys, time
def mode():
    return open(sys.argv[2]).read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[2] + ".log", "a") as log:
            log.write("asked\\n")
        while mode() == "hang":
            time.sleep(0.05)
        if mode() == "slow":
            time.sleep(0.3)
        self.send_response(int(mode()) if mode().isdigit() else 200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"fine\\n")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 16
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

CONF = """
daemon off; pid {dir}/nginx.pid; worker_processes 1; events {{ worker_connections {connections}; }}
http {{
  access_log off; {temp}
  server {{
    listen 127.0.0.1:{port} {listen};
    location / {{ {location} proxy_pass http://127.0.0.1:{backend}; proxy_read_timeout {patience}; }}
    location = /auth {{ internal; proxy_pass http://127.0.0.1:{auth}; proxy_read_timeout 60s; }}
  }}
}}
"""


def waiting_at(port):
    """How many connections wait to be accepted (proc(5): the rx_queue of a listener); None: nothing listens."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                return int(fields[4].split(":")[1], 16)
    return None


class Proxy(WebServer):
    def start(self, backend, connections=64, listen="", location="", patience="60s", auth=1):
        temp = " ".join(f"{name}_temp_path {self.directory}/tmp;" for name in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        os.makedirs(f"{self.directory}/tmp", exist_ok=True)
        os.chmod(f"{self.directory}/tmp", 0o777)
        with open(f"{self.directory}/proxy.conf", "w", encoding="utf-8") as conf:
            conf.write(CONF.format(dir=self.directory, temp=temp, port=self.port, backend=backend, auth=auth, connections=connections,
                                   listen=listen, location=location, patience=patience))
        self._start([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-e",
                     f"{self.directory}/nginx-error.log", "-c", f"{self.directory}/proxy.conf"])
        return self

    def signal(self, sig):
        os.killpg(self.process.pid, sig)

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        super().stop()


class House:
    """A backend in its own control group, an nginx in front of it, and the values of the watch file for both."""

    def __init__(self, directory, systemctl):
        self.directory = directory
        self.systemctl = systemctl
        self.cgroup = Cgroup("site.service", directory)
        self.open = contextlib.ExitStack()
        self.open.callback(self.cgroup.remove)
        self.proxy = None
        self.backend = None
        self.listener = None
        self.protocol = "http"
        self.url = None
        self.route = "/live"
        self.during = None

    def adopt(self, backend):
        """Makes systemctl show backend as the main process of the unit."""
        self.backend = backend
        self.systemctl.says(cgroup=self.cgroup.enter(backend.pid), pid=backend.pid)

    def says(self, mode):
        with open(f"{self.directory}/mode.new", "w", encoding="ascii") as file:
            file.write(mode)
        os.rename(f"{self.directory}/mode.new", f"{self.directory}/mode")

    def start_http(self, mode="", **proxy):
        port = free_port()
        self.says(mode)
        backend = process.start([sys.executable, "-c", BACKEND, str(port), f"{self.directory}/mode"])
        self.open.callback(process.end, backend, signal.SIGKILL)
        self.adopt(backend)
        wait_until(lambda: waiting_at(port) is not None, 20, "the backend listens")
        self.listener = f"tcp:127.0.0.1:{port}"
        self.start_proxy(port, **proxy)

    def start_proxy(self, port, **proxy):
        self.proxy = Proxy(self.directory).start(port, **proxy)
        self.open.callback(self.proxy.stop)
        self.url = f"http://127.0.0.1:{self.proxy.port}"

    def start_health_api(self, **changes):
        """health-api and nginx with the shipped snippets. There is no database, which does not matter here."""
        backend = Backend(self.directory, PGHOST="127.0.0.1", PGPORT="1", HEALTH_CHECKS=CHECKS)
        self.open.callback(backend.stop)
        self.adopt(backend.start().process)
        nginx = Nginx(self.directory)
        nginx.configure()
        for name, (old, new) in changes.items():
            nginx.change({"nginx": "nginx.conf", "server": "nginx.conf"}[name], old, new)
        self.open.callback(nginx.start_configured().stop)
        self.proxy, self.url, self.route = nginx, f"http://127.0.0.1:{nginx.port}", "/api/health/live"
        self.listener, self.protocol = f"unix:{backend.socket}", "fastcgi"
        return backend

    def slow_visitors(self, count):
        """They connect and send half a request. nginx would close a connection that has sent nothing, to make room."""
        for _ in range(count):
            visitor = self.open.enter_context(socket.socket())
            visitor.settimeout(0.2)
            with contextlib.suppress(OSError):
                visitor.connect(("127.0.0.1", self.proxy.port))
                visitor.sendall(b"GET /")

    def asked(self):
        with contextlib.suppress(FileNotFoundError), open(f"{self.directory}/mode.log", encoding="ascii") as log:
            return len(log.readlines())
        return 0


# Each function sets up a house and one fault in it.

def all_is_well(house):
    house.start_http()


def proxy_dead(house):
    house.start_http()
    house.proxy.stop()


def proxy_hung(house):
    house.start_http()
    house.proxy.signal(signal.SIGSTOP)


def proxy_dies_in_the_first_try(house):
    proxy_hung(house)

    def die():
        wait_until(lambda: waiting_at(house.proxy.port), 20, "the first try")
        house.proxy.signal(signal.SIGKILL)
    house.during = die


def proxy_hangs_and_is_then_killed(house):
    """What the OOM killer does after a time of memory pressure."""
    proxy_hung(house)

    def die():
        wait_until(lambda: waiting_at(house.proxy.port) >= 2, 20, "the second try")
        house.proxy.signal(signal.SIGKILL)
    house.during = die


def proxy_queue_full(house):
    house.start_http(listen="backlog=1")
    house.proxy.signal(signal.SIGSTOP)
    house.slow_visitors(6)
    wait_until(lambda: waiting_at(house.proxy.port) >= 2, 20, "its queue is full")


def proxy_out_of_connections(house):
    """It accepts connections and closes them without a byte."""
    house.start_http(connections=8)
    house.slow_visitors(16)
    wait_until(lambda: not waiting_at(house.proxy.port), 20, "they are accepted, or closed")


def proxy_auth_hangs(house):
    silent = house.open.enter_context(socket.socket())
    silent.bind(("127.0.0.1", 0))
    silent.listen(16)
    house.start_http(location="auth_request /auth;", auth=silent.getsockname()[1])


def proxy_auth_dead(house):
    house.start_http(location="auth_request /auth;")


def nginx_not_permitted(house):
    backend = house.start_health_api()
    os.chmod(backend.socket, 0)


def nginx_has_no_connection_for_the_backend(house):
    """nginx answers 500 itself, with the shipped document."""
    house.start_health_api(nginx=("worker_connections 1024;", "worker_connections 3;"))


def backend_hung_and_nginx_says_so(house):
    house.start_http(patience="200ms")
    os.kill(house.backend.pid, signal.SIGSTOP)


def backend_hung(house):
    house.start_http()
    os.kill(house.backend.pid, signal.SIGSTOP)


def health_api_hung(house):
    house.start_health_api()
    os.kill(house.backend.pid, signal.SIGSTOP)


def workers_hang_and_nginx_says_so(house):
    house.start_http("hang", patience="200ms")


def workers_hang(house):
    house.start_http("hang")


def backend_listens_nowhere(house):
    port = free_port()
    sleeper = process.start(["sleep", "1000"])
    house.open.callback(process.end, sleeper)
    house.adopt(sleeper)
    house.listener = f"tcp:127.0.0.1:{port}"
    house.start_proxy(port)


def backend_slow(house):
    house.start_http("slow")


def backend_says_500(house):
    house.start_http("500")


def backend_says_503(house):
    house.start_http("503")


def backend_says_504(house):
    """The backend is a gateway itself, and reports a server that health-watch does not guard."""
    house.start_http("504")


def backend_says_429(house):
    house.start_http("429")


def resolver_dead(house):
    house.start_http()
    house.url = "http://backend.invalid"


def tls_wrong(house):
    house.start_http()
    house.url = house.url.replace("http:", "https:")


NO, KILL = False, True
# What fails; the exit code; whether the backend is killed if the watch file names no listener, a listener, or a listener with
# its protocol (None: not tested).
CELLS = [
    (all_is_well, 0, (NO, NO, NO)),
    (proxy_dead, 2, (NO, NO, NO)),
    (proxy_hung, 2, (NO, NO, NO)),
    (proxy_dies_in_the_first_try, 2, (None, NO, NO)),
    (proxy_hangs_and_is_then_killed, 2, (None, NO, NO)),
    (proxy_queue_full, 2, (None, NO, NO)),
    (proxy_out_of_connections, 2, (NO, NO, NO)),
    (proxy_auth_hangs, 2, (NO, NO, NO)),
    (proxy_auth_dead, 2, (None, NO, NO)),
    (nginx_not_permitted, 2, (NO, NO, NO)),
    (nginx_has_no_connection_for_the_backend, 2, (NO, NO, NO)),
    (backend_hung_and_nginx_says_so, 2, (KILL, KILL, KILL)),
    (backend_hung, 2, (NO, KILL, KILL)),
    (health_api_hung, 2, (None, KILL, KILL)),
    (workers_hang_and_nginx_says_so, 2, (KILL, KILL, KILL)),
    (workers_hang, 2, (NO, NO, KILL)),
    (backend_listens_nowhere, 2, (NO, KILL, KILL)),
    (backend_slow, 0, (None, None, NO)),
    (backend_says_500, 2, (None, NO, None)),
    (backend_says_503, 2, (None, NO, None)),
    (backend_says_504, 2, (NO, NO, NO)),
    (backend_says_429, 1, (None, NO, None)),
    (resolver_dead, 3, (None, NO, NO)),
    (tls_wrong, 3, (None, NO, NO)),
]


@pytest.fixture
def house(directory, systemctl):
    made = House(directory, systemctl)
    with made.open:
        yield made


@pytest.mark.parametrize("who,code,known,killed", [
    pytest.param(who, code, known, killed, id=f"{who.__name__}-{known}")
    for who, code, cells in CELLS for known, killed in zip(("unnamed", "named", "asked"), cells) if killed is not None])
def test_what_fails_and_what_is_known_of_the_listener(dog, house, systemctl, who, code, known, killed):
    who(house)
    keys = {} if known == "unnamed" else {"listener": house.listener}
    if known == "asked":
        keys["listener_protocol"] = house.protocol
    dog.write(house.url, f"core {house.route} liveness", unit="site", restart_wait="1s", **keys)
    run = dog.start()
    during = threading.Thread(target=house.during or (lambda: None))
    during.start()
    out, err = run.communicate(timeout=60)
    during.join(30)
    assert systemctl.orders() == (["kill"] if killed else []), (out, err)
    assert run.returncode == code, (out, err)
    if code == 2 and not killed and "left alone" not in out:
        assert "recovery" not in out, "after an answer health-watch does not even consider a recovery"


def test_silence_does_not_count_while_this_machine_is_starved_of_cpu(dog, house, systemctl):
    """SIGSTOP keeps health-watch from running during each try, so it does not count the silence."""
    workers_hang(house)
    dog.write(house.url, "core /live", unit="site", listener=house.listener, listener_protocol="http", tries=2, timeout="1s")
    run = dog.start()
    for tries in range(2):
        wait_until(lambda tries=tries: house.asked() > tries, 20, "a try is under way")
        run.send_signal(signal.SIGSTOP)
        hold_for(lambda: run.poll() is None, 2.5)  # longer than the try may take
        run.send_signal(signal.SIGCONT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 3, (out, err)
    assert "core /live: this machine is starved of CPU: a try of " in out and "does not count" in out
    assert systemctl.orders() == []


def test_a_rogue_at_the_listener_is_named_while_every_route_answers(dog, house, systemctl):
    all_is_well(house)
    systemctl.says(cgroup="/system.slice/other.service")
    dog.write(house.url, "core /live", unit="site", listener=house.listener, listener_protocol="http")
    done = dog.run()
    assert done.code == 2 and f"pid {house.backend.pid} " in done.out, done
    assert "evict_rogue is no: the rogue is left alone" in done.out
    assert systemctl.orders() == []
