"""Connections that a web server keeps for all its clients: a POST of one costs no other its answer, and a restart of
the program costs nothing but what the web server itself is known for."""
import time

from . import servers
from .load import Load, summary
from .test_answers import each_front

REQUESTS = 5000
CLIENTS = 6
RESTARTS = 3

POOLED = set(servers.FASTCGI) - {"lighttpd", "caddy"}  # those two connect for each request

# A process that ends closes its idle connections. A request that the web server sends at that moment is lost, for
# FastCGI has no way to say "closing"; what follows is the web server's decision. How many may be lost for each restart:
# GETs and POSTs. All that were seen came within 70 ms of SIGTERM.
LOST = {
    # mod_proxy_fcgi looks whether a pooled connection is still open, but does not send again what it has written
    # (mod_proxy_fcgi.c, fcgi_do_request: 503 after "Error dispatching request"). Seen: 4 and 2 in 12 restarts.
    "apache-unix": (2, 2),
    "apache-tcp": (2, 2),
    # The same in h2o (lib/handler/fastcgi.c, errorclose: 503). Seen: none in 30 restarts.
    "h2o": (1, 1),
    # HAProxy sends again only what could not connect (configuration.txt: retry-on is conn-failure by default). It
    # closes the client's connection without an answer. Seen: up to 3 and 3 in one restart.
    "haproxy": (4, 4),
    "haproxy-get-values": (4, 4),
    # nginx sends again what is idempotent, and a POST is not (fastcgi_next_upstream: non_idempotent). Seen: 3 in 12.
    "nginx": (0, 2),
}


def is_starting(failure):
    """The program's own answer where the first probe takes longer than new connections wait for it: a busy machine."""
    return failure.method == "GET" and '"status":"starting"' in failure.what


@each_front(servers.FASTCGI)
def test_mixed_requests_survive_three_restarts_of_the_program(front, programs, name):
    service = programs.service("restarted", name)
    restarts = []
    with Load(front(name).ports["restarted"], REQUESTS, CLIENTS) as load:
        for nth in range(1, RESTARTS + 1):
            load.wait_done(REQUESTS * nth // (RESTARTS + 1))
            began = time.monotonic()
            service.restart()
            restarts.append((began, time.monotonic()))
        load.finish()
    outside = [failure for failure in load.failures
               if not any(failure.sent <= ended and began <= failure.at for began, ended in restarts)]
    assert not outside, "outside of a restart: " + summary(outside)
    lost = [failure for failure in load.failures if not is_starting(failure)]
    assert len(lost) <= RESTARTS * CLIENTS, summary(lost)  # one for each connection of the pool at most
    for method, allowed in zip(("GET", "POST"), LOST.get(name, (0, 0))):
        assert len([failure for failure in lost if failure.method == method]) <= RESTARTS * allowed, summary(lost)


@each_front(sorted(POOLED))
def test_a_post_costs_no_connection_of_the_pool(front, programs, name):
    """Few connections for many requests: else the test above would test no pool."""
    service = programs.service("restarted", name)
    before = len(service.backend.events("connection closed"))
    with Load(front(name).ports["restarted"], 1000, CLIENTS) as load:
        load.finish()
    assert not load.failures, summary(load.failures)
    assert len(service.backend.events("connection closed")) - before < 50
