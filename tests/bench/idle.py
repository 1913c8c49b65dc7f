"""Requests per second while 1,000 idle connections are open, to the backend's socket or to nginx."""
import http.client
import select

from harness import fastcgi

from . import load, settings

GROUP = "requests per second with idle connections"
COUNT = 100 if settings.SMOKE else 1000
SETTINGS = {"HEALTH_MAX_CONNECTIONS": COUNT + 200, "HEALTH_IDLE_TIMEOUT": "10m"}


def open_fastcgi(health):
    """Opens connections that stay open after one request, as a web server does."""
    opened = []
    for _ in range(COUNT):
        opened.append(fastcgi.Connection(health.address))
        opened[-1].ask()
    return opened, lambda: [connection.socket.close() for connection in opened]


def open_http(nginx, path):
    opened = []
    for _ in range(COUNT):
        connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
        connection.request("GET", path)
        connection.getresponse().read()
        opened.append(connection)
    return opened, lambda: [connection.close() for connection in opened]


def still_open(opened):
    """How many of them the peer has not closed: an open one has nothing to read."""
    poll = select.poll()
    for connection in opened:
        poll.register(connection.socket if isinstance(connection, fastcgi.Connection) else connection.sock,
                      select.POLLIN)
    return len(opened) - len(poll.poll(0))


def measure(stage, contenders, health, results):
    path = contenders["health"].path

    def run(open_them):
        opened, close_them = open_them()
        try:
            load.wrk(stage, path, settings.WARM_UP_S)
            rate = load.wrk(stage, path).rate
            if still_open(opened) < len(opened):
                raise load.Failed(f"only {still_open(opened)} of {len(opened)} idle connections stayed open")
            return rate
        finally:
            close_them()
    measured = load.interleave({"none": lambda: run(lambda: ([], lambda: None)),
                                "fastcgi": lambda: run(lambda: open_fastcgi(health)),
                                "http": lambda: run(lambda: open_http(stage.nginx, path))})
    labels = {"none": "no idle connection", "fastcgi": f"{COUNT} idle FastCGI connections",
              "http": f"{COUNT} idle HTTP connections"}
    for name, samples in measured.items():
        results.add(GROUP, name, samples, "/s", labels[name])
    for name in ("fastcgi", "http"):
        results.judge_ratio(f"requests/s with {labels[name]}", GROUP, name, "none", 0.9, at_least=True)
