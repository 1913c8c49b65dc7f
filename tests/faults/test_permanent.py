"""Errors that no retry heals: the program tries less and less often while they last, and leaks nothing."""
import os
import time

import pytest
from harness.wait import wait_until

SUMMARY_S = 60  # while the same failure lasts, the log has one line this often
SELDOM_S = 2.0  # between two logins, after the first few
LOCKED_OUT = ("password", "pg_hba")  # after a refused role the wait is 10 s from the first time on
# The server's own log counts these attempts. A login that the socket's permissions refuse never reaches the server.
REFUSALS = {
    "password": 'FATAL:  password authentication failed for user "health_api"',
    "database": 'FATAL:  database "nowhere" does not exist',
    "pg_hba": 'FATAL:  pg_hba.conf rejects connection for host "[local]", user "health_api", database "rejected"',
    "socket": None,
}


class Case:
    """A program with one of the errors, watched from its first few attempts on."""

    def __init__(self, name, backend, cluster):
        self.name, self.backend, self.cluster = name, backend, cluster
        self.seldom_s = 10.5 if name in LOCKED_OUT else SELDOM_S
        few = 1 if name in LOCKED_OUT else 4
        wait_until(lambda: self.failures() >= few, 20, f"{name}: the first few attempts")
        self.began, self.few = time.monotonic(), self.failures()
        self.fds, self.most_fds = backend.fds_at_rest(), 0
        self.line_count = len(self.lines())
        self.summed_up = None

    def failures(self):
        return self.backend.document("/api/status")["database"]["consecutive_failures"]

    def lines(self):
        return self.backend.log().splitlines()

    def attempts(self):
        """How many attempts the server has logged; None: they do not reach the server."""
        if not REFUSALS[self.name]:
            return None
        return sum(REFUSALS[self.name] in line for line in self.cluster.log_lines())

    def is_summed_up(self):
        """Looks once. True: the log has the summary; summed_up has its number and the true number at that time."""
        assert self.backend.ask().status == 503
        self.most_fds = max(self.most_fds, self.backend.fds())
        summaries = self.backend.events("database still failing")
        if summaries and not self.summed_up:
            logged = sum(int(line["attempts"]) for line in self.backend.events("database failed") + summaries)
            attempts = self.attempts()
            # News that change no status are published with the next heartbeat.
            wait_until(lambda: self.failures() >= logged, 2, f"{self.name}: {logged} attempts in /api/status")
            failures = self.failures()
            self.summed_up = {"logged": logged, "attempts": failures if attempts is None else attempts, "failures": failures}
        return self.summed_up


@pytest.fixture
def cases(start_backend, own_cluster, directory, checks_file):
    """Four programs with one server, each with another error."""
    locked = os.path.join(own_cluster.directory, "locked")
    os.mkdir(locked)
    os.chmod(locked, 0o777)
    os.chmod(directory, 0o777)
    own_cluster.stop("fast")
    own_cluster.configure(f"unix_socket_directories = '{own_cluster.directory}, {locked}'")
    own_cluster.start()
    own_cluster.write_hba("local rejected health_api reject\nlocal all health_api scram-sha-256\n"
                          "local all postgres trust\n")
    os.chmod(os.path.join(locked, ".s.PGSQL.5432"), 0o700)
    changes = {"password": {"PGPASSWORD": "wrong"}, "database": {"PGDATABASE": "nowhere"},
               "pg_hba": {"PGDATABASE": "rejected"}, "socket": {"PGHOST": locked}}
    if os.geteuid() != 0:
        del changes["socket"]  # the program must run as another user than the server, which needs root
    checks = checks_file("-- check: one\nSELECT 1;\n")
    backends = {name: start_backend(place=name, popen={"user": "nobody"} if name == "socket" else {},
                                    HEALTH_CHECKS=checks, **own_cluster.environment(**changes[name]))
                for name in changes}
    for name, backend in backends.items():
        backend.wait_failing(("database", "unreachable" if name == "socket" else "access"))
    return [Case(name, backend, own_cluster) for name, backend in backends.items()]


@pytest.mark.long
def test_permanent_errors_are_tried_every_two_seconds_leak_nothing_and_are_summed_up_each_minute(cases):
    """Watches all programs at once, until the first summary is due after a minute."""
    wait_until(lambda: all([case.is_summed_up() for case in cases]), SUMMARY_S + 10, "a summary from each",
               interval_s=0.05)
    for case in cases:
        tried, elapsed = case.failures() - case.few, time.monotonic() - case.began
        assert 0.7 * elapsed / case.seldom_s < tried <= elapsed / case.seldom_s + 1, f"{case.name}: {tried} in {elapsed} s"
        assert case.summed_up["logged"] == case.summed_up["attempts"] == case.summed_up["failures"], (case.name, case.summed_up)
        assert len(case.lines()) == case.line_count + 1, f"{case.name}: another line than the summary"
        assert [line["to"] for line in case.backend.events("status changed")] == ["degraded"]
        assert case.most_fds <= case.fds + 4, f"{case.name}: more descriptors than one login and one client need"
        assert case.backend.fds_at_rest() == case.fds, case.name
