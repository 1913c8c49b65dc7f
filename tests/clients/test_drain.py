"""Two nodes behind HAProxy, as docs/load-balancers.md says. One of them is taken out by hand, stopped, and taken in
again; or both are restarted in turn, and drain while they stop. No visitor notices."""
import collections
import os
import signal
import threading

import pytest
from harness.backend import CHECKS, Backend
from harness.site import Site
from harness.wait import hold_for, wait_until

from . import httpclient
from .servers import HAProxyChecker
from .service import PATIENT

# What a node may take to go out or in. HAProxy needs two checks, and each starts 0.2 s after the last one.
CHANGES_WITHIN_S = 10
VISITORS = 3


class Node:
    """health-api, and an nginx with the application, which answers with its name."""

    def __init__(self, directory, name, cluster, settings):
        self.home = os.path.join(directory, name)
        os.mkdir(self.home)
        os.chmod(self.home, 0o755)
        self.drain = os.path.join(self.home, "drain")
        self.backend = Backend(self.home, **cluster.environment(HEALTH_CHECKS=CHECKS, **PATIENT, **settings))
        self.site = Site(self.home)
        self.site.configure(server=f"include health-api.conf; location / {{ return 200 {name}; }}")

    def start(self):
        self.backend.start()
        self.site.start_configured()
        return self

    def stop(self):
        self.site.stop()
        assert self.backend.stop() == 0


class Visitors:
    """Clients that load a page through a port again and again. They count the names of the nodes that answered."""

    def __init__(self, port):
        self.port = port
        self.seen = collections.Counter()
        self.failures = []
        self.are_leaving = False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(VISITORS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.are_leaving = True
        for thread in self.threads:
            thread.join()

    def _visit(self):
        while not self.are_leaving:
            try:
                with httpclient.Connection(self.port) as connection:
                    for _ in range(50):
                        answer = connection.ask("GET", "/page")
                        self._note(answer.body.decode(), None if answer.status == 200 else answer)
            except (OSError, EOFError, ValueError) as error:
                self._note("", error)

    def _note(self, name, failure):
        with self.lock:
            self.seen[name] += 1
            if failure is not None:
                self.failures.append(failure)

    def wait_for_pages(self, count, name=None):
        """Waits until they have got this many more pages, all together or of one node."""
        def pages():
            return self.seen[name] if name else self.seen.total()
        before = pages()
        wait_until(lambda: pages() >= before + count, 20, f"{count} more pages of {name or 'any node'}")


@pytest.fixture
def nodes(request, directory, small_cluster):
    """The parameter has further settings of health-api."""
    made = []
    try:
        for name in ("one", "two"):
            made.append(Node(directory, name, small_cluster, getattr(request, "param", {})))
            made[-1].start().backend.wait_status("healthy")
        yield made
    finally:
        for node in made:
            node.stop()


@pytest.fixture
def balancer(directory, nodes):
    checker = HAProxyChecker(directory).start(*[node.site.port for node in nodes], route="/api/health")
    for name in ("app1", "app2"):
        wait_until(lambda name=name: checker.server(name)["check_code"] == "200", 10, f"the first check of {name}")
    yield checker
    checker.stop()


def assert_no_error(balancer, name):
    row = balancer.server(name)
    assert [row[fault] for fault in ("econ", "eresp", "wretr", "wredis")] == ["0"] * 4, row


def test_a_node_goes_out_by_hand_and_comes_in_again_without_a_lost_request(nodes, balancer):
    node = nodes[0]

    def wait_state(state):
        wait_until(lambda: balancer.server()["status"] == state, CHANGES_WITHIN_S, f"{state} at HAProxy")
    with Visitors(balancer.port) as visitors:
        for name in ("one", "two"):
            visitors.wait_for_pages(50, name)

        with open(node.drain, "w", encoding="ascii"):
            wait_state("DOWN")
        assert balancer.server()["check_code"] == "503"
        wait_until(lambda: balancer.server()["scur"] == "0", 5, "its last request is answered")
        requests = balancer.server()["stot"]

        node.stop()  # the work that the node was taken out for
        visitors.wait_for_pages(100)
        node.start()
        hold_for(lambda: balancer.server()["status"] == "DOWN", 1, "out until the file has gone, also after a restart")
        assert balancer.server()["stot"] == requests

        os.unlink(node.drain)
        wait_state("UP")
        visitors.wait_for_pages(50, "one")
    assert visitors.failures == []
    for name in ("app1", "app2"):
        assert_no_error(balancer, name)
    assert balancer.server("app2")["status"] == "UP" and balancer.server("app2")["chkfail"] == "0"


@pytest.mark.parametrize("nodes", [{"HEALTH_DRAIN": "5s"}], indirect=True)
def test_each_node_is_restarted_in_turn_without_a_lost_request(nodes, balancer):
    with Visitors(balancer.port) as visitors:
        for name, node in (("app1", nodes[0]), ("app2", nodes[1])):
            visitors.wait_for_pages(50)
            node.backend.process.send_signal(signal.SIGTERM)
            wait_until(lambda name=name: balancer.server(name)["status"] == "DOWN", CHANGES_WITHIN_S, f"{name} is out")
            assert node.backend.process.poll() is None  # it drains: the application still answers
            wait_until(lambda name=name: balancer.server(name)["scur"] == "0", 5, "its last request is answered")
            node.stop()
            visitors.wait_for_pages(50)
            node.start()
            wait_until(lambda name=name: balancer.server(name)["status"] == "UP", CHANGES_WITHIN_S, f"{name} is in again")
    assert visitors.failures == []
    for name in ("app1", "app2"):
        assert_no_error(balancer, name)
