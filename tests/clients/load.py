"""Sends many requests at once, GETs and POSTs with bodies, mixed on several kept connections."""
import collections
import itertools
import json
import threading
import time
from typing import NamedTuple

from harness.wait import wait_until

from . import httpclient

GETS = ("/api/health", "/api/status", "/api/health/live")
# Large bodies are rare, because 200 KB cost a web server a hundred times as much as a GET.
BODIES = (b"x" * 10, b"x" * 9000, b"x" * 1000, b"x" * 9000)
LARGE = b"x" * 200_000
LARGE_EVERY = 50


class Failure(NamedTuple):
    sent: float  # CLOCK_MONOTONIC; `at` is the time when the failure was known
    at: float
    method: str
    what: str


def summary(failures):
    """Counts the failures by kind, for the message of a test."""
    kinds = collections.Counter(f"{failure.method} {failure.what[:40]}" for failure in failures)
    return f"{len(failures)} failed: {dict(kinds)}"


class Load:
    """Sends this many requests to port from this many clients. Every second one is a POST. Keeps the failures."""

    def __init__(self, port, requests, clients):
        self.port = port
        self.requests = requests
        self.numbers = itertools.count()
        self.done = 0
        self.failures = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.requests = 0
        for thread in self.threads:
            thread.join()

    def wait_done(self, count, deadline_s=40.0):
        wait_until(lambda: self.done >= count, deadline_s, f"{count} requests are answered; {summary(self.failures)}")

    def finish(self):
        self.wait_done(self.requests)

    def _client(self):
        connection = None
        while (number := next(self.numbers)) < self.requests:
            method, path, body, expected = self._request(number)
            fault = None
            sent = time.monotonic()
            try:
                connection = connection or httpclient.Connection(self.port)
                answer = connection.ask(method, path, body)
                if answer.status != expected or answer.headers.get("x-health-source") != "backend":
                    fault = f"{answer.status} {answer.body[:60]!r}"
                else:
                    json.loads(answer.body)
            except (OSError, EOFError, ValueError) as error:
                fault = repr(error)
            # A server that responds before it has read a long body closes after that. nginx has said keep-alive by then.
            if connection and (fault or connection.is_closing or body is LARGE):
                connection.close()
                connection = None
            with self.lock:
                self.done += 1
                if fault:
                    self.failures.append(Failure(sent, time.monotonic(), method, fault))
        if connection:
            connection.close()

    def _request(self, number):
        nth = number // 2
        if number % 2:
            return "GET", GETS[number % len(GETS)], b"", 200
        return "POST", "/api/health", LARGE if nth % LARGE_EVERY == 0 else BODIES[nth % len(BODIES)], 405
