"""HAProxy, configured as docs/load-balancers.md says, checks an nginx with the shipped snippets."""
import signal

import pytest
from harness.backend import CHECKS, Backend
from harness.wait import hold_for, wait_until

from .servers import HAProxyChecker


@pytest.fixture
def backend(own_cluster, directory):
    server = Backend(directory, **own_cluster.environment(HEALTH_CHECKS=CHECKS)).start()
    server.wait_status("healthy")
    yield server
    assert server.stop() == 0


@pytest.fixture
def start_checker(directory, nginx):
    checkers = []

    def start(**options):
        checkers.append(HAProxyChecker(directory).start(nginx.port, **options))
        wait_until(lambda: checkers[0].server()["check_code"] == "200", 10, "the first check")
        return checkers[0]
    yield start
    for checker in checkers:
        checker.stop()


def wait_down(checker):
    return wait_until(lambda: checker.server() if checker.server()["status"] == "DOWN" else None, 5, "DOWN")


def test_a_check_of_api_health_takes_the_server_down_while_the_database_is_stopped(backend, start_checker, own_cluster):
    checker = start_checker(route="/api/health")
    hold_for(lambda: checker.server()["status"] == "UP", 1.5, "UP while healthy")
    assert checker.server()["chkfail"] == "0"

    own_cluster.stop()
    down = wait_down(checker)
    assert (down["check_status"], down["check_code"]) == ("L7STS", "503")
    assert checker.ask().status == 503

    own_cluster.start()
    wait_until(lambda: checker.server()["status"] == "UP", 15, "UP again")
    assert checker.ask().status == 200


def test_a_check_of_the_process_keeps_the_server_up_without_its_database(backend, start_checker, own_cluster):
    """All nodes would go down at the same moment, and clients would get HAProxy's own 503 instead of the application."""
    checker = start_checker()
    own_cluster.stop()
    wait_until(lambda: checker.ask().status == 503, 5, "the answer of a node without its database")
    hold_for(lambda: checker.server()["status"] == "UP", 1.5, "UP while the database is stopped")
    assert checker.ask().headers["X-Health-Source"] == "backend"

    backend.stop()
    assert wait_down(checker)["check_code"] == "503"


def test_a_check_waits_longer_than_nginx_so_it_gets_the_answer_for_a_program_that_hangs(backend, start_checker):
    """A timeout of HAProxy itself would be L7TOUT, without nginx's reason."""
    checker = start_checker()
    backend.process.send_signal(signal.SIGSTOP)
    try:
        down = wait_down(checker)
        assert (down["check_status"], down["check_code"]) == ("L7STS", "503")
    finally:
        backend.process.send_signal(signal.SIGCONT)
    wait_until(lambda: checker.server()["status"] == "UP", 5, "UP again")
