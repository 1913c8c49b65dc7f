"""/api/status and /api/metrics through real proxies on the same machine: the site's nginx sees every visitor as 127.0.0.1."""
import json
import os

import pytest
from harness.site import Site
from harness.wait import wait_until

from .front_nginx import FrontNginx
from .servers import HAProxyChecker

FRONTS = {
    "haproxy": lambda home, port: HAProxyChecker(home).start(port),
    "haproxy with forwardfor": lambda home, port: HAProxyChecker(home).start(port, options="option forwardfor"),
    "nginx": lambda home, port: FrontNginx(home).start(port, False),
    "nginx with X-Forwarded-For": lambda home, port: FrontNginx(home).start(port, True),
}
TRICKS = {
    "no header": "",
    "an empty X-Forwarded-For": "X-Forwarded-For:\r\n",
    "X-Forwarded-For is hop-by-hop": "Connection: close, X-Forwarded-For\r\n",
    "both headers are hop-by-hop": "Connection: close, X-Forwarded-For, Forwarded\r\nX-Forwarded-For: 192.0.2.1\r\n",
    "X-Forwarded-For says loopback": "X-Forwarded-For: 127.0.0.1\r\n",
    "Forwarded says loopback": "Forwarded: for=127.0.0.1\r\n",
    "X-Real-IP says loopback": "X-Real-IP: 127.0.0.1\r\nTrue-Client-IP: 127.0.0.1\r\n",
    "the Host of the operators": "Host: 127.0.0.1:8078\r\n",
}
PATHS = ("/api/status", "/api/%73tatus", "//api/status", "/api/./status?x=1", "/api/metrics", "/api/%6detrics?x=1")


@pytest.fixture
def site(backend, directory):
    server = Site(directory)
    server.configure()
    server.start_configured()
    yield server
    server.stop()


@pytest.fixture(params=FRONTS)
def proxy(request, site, directory):
    home = os.path.join(directory, "front")
    os.makedirs(home)
    os.chmod(home, 0o755)
    server = FRONTS[request.param](home, site.port)
    try:
        wait_until(lambda: server.ask().status == 200, 10, "the proxy sends requests to the site")
        yield server
    finally:
        server.stop()


def ask(server, path, headers):
    """Sends a request that http.client would not send. Returns status and body."""
    host = "" if "Host:" in headers else "Host: example.org\r\n"
    close = "" if "Connection:" in headers else "Connection: close\r\n"
    head, _, body = server.send_raw(f"GET {path} HTTP/1.1\r\n{host}{headers}{close}\r\n".encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_no_visitor_of_a_proxy_sees_the_status(proxy, site):
    for trick, headers in TRICKS.items():
        for path in PATHS:
            status, body = ask(proxy, path, headers)
            assert status == 403, (trick, path, body)
            assert json.loads(body)["detail"].startswith("Operators ask http://127.0.0.1:8078/api/status"), (trick, path)
        assert ask(proxy, "/api/health", headers)[0] == 200, trick
    assert ask(proxy, "http://127.0.0.1:8078/api/status", TRICKS["the Host of the operators"])[0] == 403
    operators = site.ask("/api/status", port=site.operators_port)
    assert operators.status == 200 and "config" in json.loads(operators.body)


def test_visitors_of_a_proxy_do_not_use_up_the_limit_of_its_checks(proxy):
    """To nginx, visitors and checks have the same address."""
    assert {proxy.ask("/api/health").status for _ in range(200)} == {200}
