"""health-watch under test: build/health-watch, or the program in HEALTH_WATCH. Also servers for it to look at, and a
systemctl that records its arguments and answers from files. A real systemd does not give these answers on demand."""
import json
import os
import re
import socket
import subprocess
import threading
import time

from . import contract, process

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(os.path.join(ROOT, os.environ.get("HEALTH_WATCH", "build/health-watch")))
REPORTS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")

# Short enough for a test of three tries to take a second, long enough for a busy machine to answer.
QUICK = {"tries": 3, "retry_wait": "50ms", "timeout": "700ms", "connect_timeout": "700ms", "cooldown": "0s",
         "start_grace": "10s", "restart_wait": "15s"}


# The bodies of nginx's own answers, as in nginx/health-api.conf, by their reason.
DOWN = {reason: b'{"status":"degraded","failing":[{"check":"backend","reason":"%s"}]}\n' % reason.encode()
        for reason in ("unreachable", "hung", "nginx")}


class Result:
    def __init__(self, done, seconds):
        self.code, self.out, self.err, self.seconds = done.returncode, done.stdout, done.stderr, seconds

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def summary(self):
        return self.lines[-1]

    @property
    def tries(self):
        """How often it has asked the first route of the report: QUICK["tries"], and once more for each try that does not
        count because it had no processor."""
        return int(re.search(r" \((\d+) tries", self.lines[0])[1])

    @property
    def document(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"code {self.code} after {self.seconds:.1f} s\n{self.out}\n{self.err}"


class Watchdog:
    """Writes a watch file in directory and runs the program on it."""

    def __init__(self, directory, systemctl=None):
        self.directory = directory
        self.systemctl = systemctl
        self.state = os.path.join(directory, "state")
        self.file = os.path.join(directory, "watch.conf")

    def write(self, base_url, *routes, **keys):
        keys = {**QUICK, "state_file": self.state, "base_url": base_url, **keys}
        with open(self.file, "w", encoding="utf-8") as file:
            file.writelines(f"{name} {value}\n" for name, value in keys.items() if value is not None)
            file.writelines(route + "\n" for route in routes)

    def environment(self):
        path = os.environ["PATH"]
        return {"PATH": f"{self.systemctl.directory}:{path}" if self.systemctl else path, "LANG": "C.UTF-8",
                "http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}

    def start(self, *arguments, **popen):
        program = PROGRAM if "user" not in popen else process.copy_for_anyone(PROGRAM, self.directory)
        return subprocess.Popen([program, *arguments, self.file], env=self.environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)

    def run(self, *arguments, **options):
        """Runs it again, twice at most, if it says that it had no processor during its tries: then it knows nothing, and
        has done nothing."""
        for _ in range(3):
            done = self._run(*arguments, **options)
            if done.code != 3 or "starved of CPU" not in done.out:
                break
        return done

    def _run(self, *arguments, deadline_s=60, **popen):
        began = time.monotonic()
        child = self.start(*arguments, **popen)
        try:
            out, err = child.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            raise AssertionError(f"no end within {deadline_s} s:\n{out}\n{err}") from None
        done = Result(subprocess.CompletedProcess(child.args, child.returncode, out, err),
                      time.monotonic() - began)
        assert not REPORTS.search(done.err), done.err
        if "--json" in arguments:
            contract.notes.add("health-watch", None, done.out.encode())
        return done


class Site:
    """A server on 127.0.0.1, or on a Unix path, whose response depends on the requested path. behaviours maps a path to a
    function(site, connection, request text). Every other path gets a 200."""

    def __init__(self, path=None, backlog=64, tls=None, port=0, ends_request=b"\r\n\r\n"):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        if not path:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(path or ("127.0.0.1", port))
        self.listener.listen(backlog)
        self.port = None if path else self.listener.getsockname()[1]
        self.tls = tls
        self.ends_request = ends_request
        self.url = f"unix:{path}" if path else f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.behaviours = {}
        self.default = lambda site, connection, request: reply(connection)
        self.requests = []
        self.lock = threading.Lock()
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            request = b""
            while self.ends_request not in request:
                more = connection.recv(65536)
                if not more:
                    return
                request += more
            text = request.decode("latin-1")
            with self.lock:
                self.requests.append(text)
            self.behaviours.get(text.split()[1] if " " in text else "", self.default)(self, connection, text)
        except OSError:
            pass
        finally:
            try:
                connection.close()
            except OSError:
                pass

    def asked(self, path):
        with self.lock:
            return [request for request in self.requests if request.split()[1] == path]

    def close(self):
        self.ended.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()


def reply(connection, status="200 OK", body=b"fine\n", headers=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def answers(status, body=b"", headers=()):
    return lambda site, connection, request: reply(connection, status, body, headers)


def times_out(site, connection, _request):
    """Responds like a proxy that has waited too long for its backend."""
    site.ended.wait(0.2)
    reply(connection, "504 Gateway Timeout")


def hangs(site, _connection, _request):
    site.ended.wait(60)


def drips(site, connection, _request):
    """Sends a whole good response, one byte at a time, slower than any timeout here."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine":
        connection.sendall(bytes([byte]))
        if site.ended.wait(0.1):
            return


def drips_body(site, connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not site.ended.wait(0.1):
        connection.sendall(b"x")


def endless_headers(site, connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not site.ended.is_set():
        connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


def endless_header_line(site, connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-More: ")
    while not site.ended.is_set():
        connection.sendall(b"x" * 1000)


def slow_headers(site, connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not site.ended.wait(0.1):
        connection.sendall(b"X-More: x\r\n")


def endless_body(site, connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not site.ended.is_set():
        connection.sendall(b"x" * 65536)


def resets(_site, connection, _request):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def closes(_site, _connection, _request):
    pass


def no_http(_site, connection, _request):
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


def cut_short(_site, connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def redirects_to(target):
    return answers("302 Found", headers=[f"Location: {target}"])


class Systemctl:
    """A systemctl in its own directory. calls() returns its command lines. The file `show` has what it reports about
    the unit. on(verb, sh) sets shell code that runs before it answers; $dir is the directory."""

    SCRIPT = """#!/bin/sh
dir=$(dirname "$0")
printf '%s\\n' "$*" >>"$dir/calls"
if [ -e "$dir/on-$1" ]; then . "$dir/on-$1"; fi
if [ "$1" = show ]; then
    for unit in "$@"; do :; done
    if [ -e "$dir/show-$unit" ]; then cat "$dir/show-$unit"; else cat "$dir/show"; fi
fi
exit 0
"""

    def __init__(self, directory):
        self.directory = os.path.join(directory, "systemctl.d")
        os.makedirs(self.directory)
        path = os.path.join(self.directory, "systemctl")
        with open(path, "w", encoding="ascii") as script:
            script.write(self.SCRIPT)
        os.chmod(path, 0o755)
        self.says()

    @staticmethod
    def status(unit="site.service", load="loaded", active="active", sub="running", result="success", pid=4242,
               started_s_ago=3600, restarts=0, reload="no", cgroup="/", job="", restart="no", file_state="enabled"):
        """cgroup: "/" contains every process, even the servers of the tests."""
        started = int((time.clock_gettime(time.CLOCK_MONOTONIC) - started_s_ago) * 1e6)
        started = max(started, 1) if active not in ("inactive", "failed") else 0
        return (f"Id={unit}\nLoadState={load}\nActiveState={active}\nSubState={sub}\nResult={result}\nMainPID={pid}\n"
                f"NRestarts={restarts}\nNeedDaemonReload={reload}\nUnitFileState={file_state}\nControlGroup={cgroup}\nSlice=system.slice\nRestart={restart}\nJob={job}\n"
                f"ExecMainStartTimestampMonotonic={started}\nActiveEnterTimestampMonotonic={started}\n"
                f"InactiveExitTimestampMonotonic={started}\nPrivateTmp=no\nProtectHome=no\nProtectSystem=no\n")

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def says(self, unit=None, **status):
        self.write("show" if unit is None else f"show-{unit}", self.status(**status, **({"unit": unit} if unit else {})))

    def on(self, verb, script, says=None):
        """says: the status that it reports from then on."""
        if says is not None:
            self.write(f"after-{verb}", self.status(**says))
            script = f'cp "$dir/after-{verb}" "$dir/show.$$" && mv "$dir/show.$$" "$dir/show"\n' + script
        self.write(f"on-{verb}", script + "\n")

    def calls(self):
        path = os.path.join(self.directory, "calls")
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()

    def orders(self):
        """Returns the verbs of the orders that it got, without `show`, which is not an order."""
        return [call.split()[0] for call in self.calls() if not call.startswith("show")]
