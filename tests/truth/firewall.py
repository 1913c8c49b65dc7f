"""Packets of this machine to one of its own ports that are dropped."""
import re
import subprocess


class NotHere(Exception):
    """This machine cannot do that fault; the text says why."""


def _iptables(*arguments):
    """In a session of its own: Ctrl-C must not end it half-way."""
    return subprocess.run(["iptables", "-w", *arguments], capture_output=True, text=True, check=False,
                          start_new_session=True)


class Dropping:
    """While the context lasts no packet to the port arrives; with only="--syn" no first packet of a connection."""

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
        """How many packets so far."""
        text = _iptables("-v", "-S", "INPUT").stdout
        return int(re.search(rf"--dport {self.port} .*-c (\d+) ", text)[1])
