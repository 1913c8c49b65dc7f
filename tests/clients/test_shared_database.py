"""Two nodes behind HAProxy, as docs/load-balancers.md configures it. Both use one database, which stops."""
import contextlib
import os

import pytest
from harness.backend import CHECKS, Backend
from harness.wait import hold_for, wait_until
from harness.webserver import Nginx

from .servers import HAProxyChecker

PAGE = "the application of node {}"


class Node:
    """health-api, and the nginx of an application that has its own answer while its database is stopped."""

    def __init__(self, directory, number, cluster, stack):
        os.makedirs(directory)
        os.chmod(directory, 0o755)
        self.backend = Backend(directory, **cluster.environment(HEALTH_CHECKS=CHECKS)).start()
        stack.callback(self.backend.stop)
        self.nginx = Nginx(directory)
        self.nginx.configure()
        self.nginx.change("nginx.conf", "        include health-api-strict.conf;\n",
                          f'        location = /page {{ return 200 "{PAGE.format(number)}"; }}\n')
        self.nginx.start_configured()
        stack.callback(self.nginx.stop)
        self.backend.wait_status("healthy")


@pytest.fixture
def nodes(own_cluster, directory):
    with contextlib.ExitStack() as stack:
        yield [Node(f"{directory}/{number}", number, own_cluster, stack) for number in (1, 2)]


@pytest.fixture
def start_checker(directory, nodes):
    with contextlib.ExitStack() as stack:
        def start(route):
            checker = HAProxyChecker(directory)
            stack.callback(checker.stop)
            checker.start(*(node.nginx.port for node in nodes), route=route)
            wait_until(lambda: states(checker) == ["UP", "UP"] and checks(checker) == ["200", "200"], 10, "both are up")
            return checker
        yield start


def states(checker):
    return [checker.server(f"app{number}")["status"] for number in (1, 2)]


def checks(checker):
    return [checker.server(f"app{number}")["check_code"] for number in (1, 2)]


def pages(checker, count=6):
    """What clients get from HAProxy, which takes the nodes in turn."""
    answers = [checker.ask("/page") for _ in range(count)]
    return {(answer.status, answer.body.decode()) for answer in answers}


EVERY_PAGE = {(200, PAGE.format(1)), (200, PAGE.format(2))}


def test_with_only_process_both_nodes_stay_and_clients_see_the_application(nodes, own_cluster, start_checker):
    checker = start_checker("/api/health?only=process")
    assert pages(checker) == EVERY_PAGE
    own_cluster.stop()
    for node in nodes:
        node.backend.wait_status("degraded")
    # Longer than the two failed checks after which HAProxy would take a node out.
    hold_for(lambda: states(checker) == ["UP", "UP"], 2, "both stay")
    assert checks(checker) == ["200", "200"]
    assert pages(checker) == EVERY_PAGE
    assert checker.ask("/api/health").status == 503  # what an alert asks


def test_with_the_whole_verdict_both_nodes_go_at_once_and_come_back(nodes, own_cluster, start_checker):
    checker = start_checker("/api/health")
    assert pages(checker) == EVERY_PAGE
    own_cluster.stop()
    wait_until(lambda: states(checker) == ["DOWN", "DOWN"], 10, "both are out")
    assert checks(checker) == ["503", "503"]
    (status, body), = pages(checker)
    assert status == 503 and "the application" not in body
    own_cluster.start()
    wait_until(lambda: states(checker) == ["UP", "UP"], 20, "both are in again")
    assert pages(checker) == EVERY_PAGE


def test_one_node_that_breaks_goes_out_alone(nodes, start_checker):
    checker = start_checker("/api/health?only=process")
    nodes[0].backend.stop()
    wait_until(lambda: states(checker) == ["DOWN", "UP"], 10, "the first is out")
    assert pages(checker) == {(200, PAGE.format(2))}
