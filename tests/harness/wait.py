"""Waits for a condition with a deadline. No other code in the tests sleeps."""
import time


def wait_until(condition, deadline_s=10.0, message="the condition", interval_s=0.005):
    """Returns the first true value of condition(). After deadline_s it fails with message and the last value. The pause
    between two calls is a twentieth of the time so far, because a call may start a process, and other tests want to run."""
    began = time.monotonic()
    end = began + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{message}: not within {deadline_s} s, last value {value!r}")
        time.sleep(max(interval_s, min(0.1, (time.monotonic() - began) / 20)))


def hold_for(condition, seconds, message="the condition"):
    """Fails if condition() is false at any time within these seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"{message}: did not hold for {seconds} s"
        time.sleep(0.02)
