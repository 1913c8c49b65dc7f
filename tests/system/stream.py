#!/usr/bin/python3
"""Sends a constant stream of requests to one URL, inside the machine under test: stream.py URL PER_SECOND RESULTS.

Writes one line of JSON per response to RESULTS, until SIGTERM. A request without a response has a line with "error"."""
import http.client
import json
import queue
import signal
import sys
import threading
import time
import urllib.parse

WORKERS = 16


def ask(url):
    began = time.monotonic()
    result = {"at": time.time()}
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=15)
    try:
        connection.request("GET", url.path)
        answer = connection.getresponse()
        body = answer.read()
        result |= {"status": answer.status, "source": answer.headers.get("X-Health-Source")}
        result["says"] = json.loads(body)["status"]
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        result["error"] = repr(error)
    finally:
        connection.close()
    result["took"] = time.monotonic() - began
    return result


def main():
    url, per_second, path = urllib.parse.urlsplit(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    due, stop = queue.Queue(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with open(path, "w", encoding="utf-8", buffering=1) as results:
        def work():
            while due.get():
                results.write(json.dumps(ask(url)) + "\n")
        workers = [threading.Thread(target=work) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        turn = time.monotonic()
        while not stop.wait(max(0.0, turn - time.monotonic())):
            due.put(True)
            turn += 1 / per_second
        for _ in workers:
            due.put(False)
        for worker in workers:
            worker.join()


main()
