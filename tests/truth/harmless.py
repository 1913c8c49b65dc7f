"""Events that are not an outage, and those that stop health-api itself; generators like those of faults.py."""
import os
import signal
import time

from harness.wait import wait_until

from .firewall import Dropping


def session_frozen(stage):
    pid = stage.our_session()
    began = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield began
    finally:
        ended = time.monotonic()
        os.kill(pid, signal.SIGCONT)
    yield ended


def session_frozen_counting(stage):
    """Freezes the session while it counts the largest table."""
    with stage.superuser() as execute:
        def counting():
            return execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'health-api' AND state = 'active'"
                           " AND query LIKE '%count(*) FROM edges%'")

        def freeze():
            for pid, in counting():
                began = time.monotonic()
                os.kill(pid, signal.SIGSTOP)
                if (pid,) in counting():
                    return pid, began
                os.kill(pid, signal.SIGCONT)  # the count had just finished
            return None
        pid, began = wait_until(freeze, 60, "a session that counts", interval_s=0.001)
        try:
            yield began
        finally:
            ended = time.monotonic()
            os.kill(pid, signal.SIGCONT)
        yield ended


def session_terminated(stage):
    began = time.monotonic()
    stage.cluster.terminate_probes()
    yield began
    yield time.monotonic()


def server_reloaded(stage):
    began = time.monotonic()
    stage.cluster.execute("SELECT pg_reload_conf()")
    yield began
    yield time.monotonic()


def syn_lost(stage):
    """Drops the first packet of the next login; the kernel sends it again after a second."""
    began = time.monotonic()
    with Dropping(stage.port, only="--syn") as rule:
        wait_until(rule.dropped, 10, "the next login")
    yield began
    yield time.monotonic()


def machine_busy(stage):
    began = time.monotonic()
    with stage.busy():
        yield began
        ended = time.monotonic()
    yield ended


def health_api_stopped(stage):
    began = time.monotonic()
    stage.health.process.send_signal(signal.SIGSTOP)
    try:
        yield began
    finally:
        ended = time.monotonic()
        stage.health.process.send_signal(signal.SIGCONT)
    yield ended
