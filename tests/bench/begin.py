"""How long a start takes, from exec to the first 200, and how long a CGI request takes."""
import os
import subprocess
import time

from harness import fastcgi
from harness.backend import PROGRAM, Backend, environment
from harness.wait import wait_until

from . import load, settings
from .stage import CHECKS

START = "from exec to the first 200"
CGI = "one CGI request"
CGI_VARIABLES = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/api/health",
                 "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}


def answers_200(address):
    try:
        with fastcgi.Connection(address) as connection:
            return connection.ask(keep=False).status == 200
    except OSError:
        return False


def measure_start(stage, results):
    directory = stage.path("start")
    os.makedirs(directory)

    def start():
        backend = Backend(directory, **{**stage.cluster.environment(), "HEALTH_CHECKS": CHECKS})
        stage.settle()
        began = time.monotonic()
        try:
            backend.start(wait=False)
            wait_until(lambda: answers_200(backend.address), 10, "the first 200", interval_s=0.0002)
            return 1000 * (time.monotonic() - began)
        finally:
            backend.stop()
    measured = load.interleave({"start": start}, settings.REPEATS)
    results.add(START, "health", measured["start"], "ms", "health-api")
    results.judge("exec to the first 200, database up", results.series[START]["health"], 50,
                  results.median(START, "health"), "ms")


def measure_cgi(stage, results):
    """A CGI program is one process per request: it connects, counts five tables, prints and exits."""
    variables = environment(**stage.cluster.environment(), **CGI_VARIABLES, HEALTH_CHECKS=CHECKS)

    def run(program):
        stage.settle()
        began = time.monotonic()
        done = subprocess.run([program], env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - began
        assert b"Status: 200" in done.stdout and b'"debates":607' in done.stdout, done.stdout
        return 1000 * seconds
    programs = {"health": PROGRAM, "count": stage.program("count")}
    measured = load.interleave({name: lambda path=path: run(path) for name, path in programs.items()},
                               settings.REPEATS)
    results.add(CGI, "health", measured["health"], "ms", "health-api")
    results.add(CGI, "count", measured["count"], "ms", "C program that connects, counts, prints")
    results.judge_ratio("one CGI request", CGI, "health", "count", 1.2)
