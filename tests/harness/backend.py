"""The program under test: build/health-api, or what HEALTH_API names."""
import json
import os
import re
import shlex
import signal
import subprocess

from . import contract, fastcgi, process
from .cluster import ROOT
from .wait import hold_for, wait_until

PROGRAM = os.path.abspath(os.path.join(ROOT, os.environ.get("HEALTH_API", "build/health-api")))
CHECKS = os.path.join(ROOT, "sql", "checks.sql")
SANITIZED = b"__asan_init" in open(PROGRAM, "rb").read() or b"__tsan_init" in open(PROGRAM, "rb").read()
REPORTS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")


def environment(**settings):
    """A clean environment: no PG* or HEALTH_* variable of the caller reaches the program."""
    clean = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TSAN_OPTIONS": "exitcode=66:report_thread_leaks=0"}
    return {**clean, **{name: str(value) for name, value in settings.items() if value is not None}}


def run(*arguments, **settings):
    """Runs the program to its end. Returns the finished process with its texts."""
    done = subprocess.run([PROGRAM, *arguments], env=environment(**settings), stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=30, check=False)
    assert not REPORTS.search(done.stderr), done.stderr
    if done.stdout.startswith("{") and arguments[0] in ("--once", "--ask"):
        said = json.loads(done.stdout)["status"]
        path = arguments[1].split("?")[0] if len(arguments) > 1 else ""
        contract.notes.add("backend", said if isinstance(said, int) else 200 if done.returncode == 0 else 503,
                           done.stdout.encode(), path or "/api/health")
    return done


class Backend:
    """A serving health-api in directory, on a Unix socket unless HEALTH_LISTEN says otherwise."""

    def __init__(self, directory, **settings):
        self.socket = os.path.join(directory, "health-api.sock")
        self.log_path = os.path.join(directory, "health-api.log")
        self.settings = {"HEALTH_LISTEN": f"unix:{self.socket}", "HEALTH_SOCKET_MODE": "0666", **settings}
        self.address = self.socket
        self.process = None

    def start(self, wait=True, wrapper=(), **popen):
        """wrapper: a command that becomes the program, such as prlimit(1) with its options."""
        program = PROGRAM if "user" not in popen else process.copy_for_anyone(PROGRAM, os.path.dirname(self.socket))
        self.process = process.start([*wrapper, program], env=environment(**self.settings), log=self.log_path, **popen)
        if wait:
            wait_until(self.accepts, 10, "health-api accepts connections")
        return self

    def accepts(self):
        assert self.process.poll() is None, f"health-api ended with {self.process.returncode}:\n{self.log()}"
        try:
            with fastcgi.Connection(self.address):
                return True
        except OSError:
            return False

    def stop(self, sig=signal.SIGTERM):
        """Stops the program. Its log must be free of sanitizer reports. Returns the exit code."""
        code = process.end(self.process, sig) if self.process else 0
        assert not REPORTS.search(self.log()), self.log()
        return code

    def ask(self, path="/api/health", **kwargs):
        with fastcgi.Connection(self.address) as connection:
            return connection.ask(path, keep=False, **kwargs)

    def document(self, path="/api/health"):
        return json.loads(self.ask(path).body)

    def wait_status(self, status, deadline_s=15.0):
        """Waits for this status. Returns the /api/health document."""
        def matches():
            document = self.document()
            return document if document["status"] == status else None
        return wait_until(matches, deadline_s, f"status {status}; log:\n{self.log()[-1500:]}\n")

    def wait_failing(self, *expected, deadline_s=15.0):
        """Waits until failing has exactly these (check, reason) pairs. Returns the document."""
        wanted = [{"check": check, "reason": reason} for check, reason in expected]

        def matches():
            document = self.document()
            return document if document["failing"] == wanted else None
        return wait_until(matches, deadline_s, f"failing {wanted}; last {self.document()['failing']}")

    def log(self):
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def events(self, name):
        """The log lines of an event, as dictionaries."""
        lines = [dict(part.partition("=")[::2] for part in shlex.split(line)) for line in self.log().splitlines()]
        return [line for line in lines if line.get("event") == name]

    @property
    def pid(self):
        return self.process.pid

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def fds_at_rest(self):
        """The number of descriptors, without connections that are just closing and without the second session, which
        comes and goes."""
        samples = []
        hold_for(lambda: samples.append(self.fds()) is None, 0.5)
        return min(samples)

    def rss_kib(self):
        return self._memory_kib("VmRSS")

    def peak_rss_kib(self):
        """The highest value so far."""
        return self._memory_kib("VmHWM")

    def _memory_kib(self, name):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return int(re.search(name + r":\s+(\d+)", status.read()).group(1))
