"""Two nodes behind HAProxy, as docs/load-balancers.md configures it. Both use one database, which stops. Then two nodes
with a standby each, whose primary locks a table; and two nodes behind nginx."""
import contextlib
import os

import pytest
from harness.backend import CHECKS, Backend
from harness.wait import hold_for, wait_until
from harness.webserver import Nginx, WebServer

from .servers import HAProxyChecker, find

PAGE = "the application of node {}"


class Node:
    """health-api, and the nginx of an application that has its own answer while its database is stopped."""

    def __init__(self, directory, number, cluster, stack):
        os.makedirs(directory)
        os.chmod(directory, 0o755)
        self.backend = Backend(directory, **cluster.environment(HEALTH_CHECKS=CHECKS, HEALTH_MAX_LOAD=100)).start()
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


def test_a_table_locked_on_the_primary_takes_out_no_node_that_asks_whether_its_standby_answers(directory, own_cluster):
    own_cluster.write_hba("local all all trust\nlocal replication all trust\n")
    wait_until(lambda: own_cluster.execute("SELECT count(*) FROM pg_hba_file_rules", "postgres") == [(2,)], 5, "the rules")
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in (1, 2):
            standby = own_cluster.make_standby(f"{directory}/standby{number}")
            stack.callback(standby.destroy)
            standby.start()
            nodes.append(Node(f"{directory}/{number}", number, standby, stack))

        def answers(query):
            return [node.nginx.ask("/api/health" + query).status for node in nodes]
        migration = stack.enter_context(contextlib.closing(own_cluster.connect()))
        migration.autocommit = False
        migration.cursor().execute("ALTER TABLE edges ADD COLUMN added int")
        own_cluster.execute("CREATE TABLE other ()")  # its commit sends the lock to the standbys
        wait_until(lambda: answers("") == [503, 503], 20, "the whole verdict fails on all nodes")
        assert answers("?only=process&only=database") == [200, 200]
        own_cluster.stop()
        hold_for(lambda: answers("?only=process&only=database") == [200, 200], 2, "the standbys answer without their primary")


class NginxBalancer(WebServer):
    """nginx as a load balancer, in front of web servers at these ports."""

    def start(self, ports, retry=""):
        temporary = os.path.join(self.directory, "balancer")
        os.mkdir(temporary)
        os.chmod(temporary, 0o777)
        paths = "".join(f"{name}_temp_path {temporary};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        servers = "".join(f"server 127.0.0.1:{port};" for port in ports)
        path = os.path.join(temporary, "nginx.conf")
        with open(path, "w", encoding="utf-8") as conf:
            conf.write(f"daemon off; pid {temporary}/pid; error_log {temporary}/log; worker_processes 1; events {{}} "
                       f"http {{ access_log off; {paths} upstream app {{ {servers} }} server {{ listen 127.0.0.1:{self.port}; "
                       f"location / {{ proxy_pass http://app; {retry} }} }} }}\n")
        self._start([find("nginx"), "-e", f"{temporary}/log", "-c", path])
        return self


@pytest.mark.parametrize("retry, expected", [("", {200}), ("proxy_next_upstream error timeout http_503;", {502})])
def test_requests_for_the_public_route_take_out_all_nodes_of_an_nginx_that_retries_a_503(nodes, own_cluster, directory, retry,
                                                                                       expected):
    balancer = NginxBalancer(directory).start([node.nginx.port for node in nodes], retry)
    try:
        own_cluster.stop()
        for node in nodes:
            node.backend.wait_status("degraded")
        assert [balancer.ask().status for _ in range(2)][0] == 503
        assert {balancer.ask("/page").status for _ in range(4)} == expected
    finally:
        balancer.stop()
