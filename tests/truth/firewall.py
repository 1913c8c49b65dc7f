"""Drops packets of this machine to one of its own ports."""
import re
import subprocess


class NotHere(Exception):
    """This machine cannot do this fault; the text says why."""


def _iptables(*arguments):
    """Runs iptables in its own session, so that Ctrl-C does not interrupt it."""
    return subprocess.run(["iptables", "-w", *arguments], capture_output=True, text=True, check=False,
                          start_new_session=True)


class Dropping:
    """During the context no packet arrives at the port; with only="--syn", no first packet of a connection."""

    def __init__(self, port, only=None):
        self.rule = ["INPUT", "-i", "lo", "-p", "tcp", *([only] if only else []), "--dport", str(port), "-j", "DROP"]
        self.port = port

    def __enter__(self):
        try:
            done = _iptables("-I", *self.rule)
        except FileNotFoundError:
            raise NotHere("iptables is not installed") from None
        if done.returncode != 0:
            raise NotHere("iptables does not work here (it needs root)")
        return self

    def __exit__(self, *_):
        while _iptables("-D", *self.rule).returncode == 0:
            pass

    def dropped(self):
        """How many packets were dropped so far."""
        text = _iptables("-v", "-S", "INPUT").stdout
        return int(re.search(rf"--dport {self.port} .*-c (\d+) ", text)[1])
