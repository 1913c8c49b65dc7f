"""Stops one thread of a process by ptrace(2), as a hang would. SIGSTOP would stop all threads."""
import ctypes
import os

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WAIT_ALL = 0x40000000  # __WALL of wait(2): waits for threads, too

_libc = ctypes.CDLL(None, use_errno=True)


def threads(pid):
    """The ids of the process's threads by age: the main thread comes first."""
    return sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))


def prober(pid):
    """The id of the prober's thread."""
    for tid in threads(pid):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as name:
            if name.read() == "prober\n":
                return tid
    raise AssertionError(f"process {pid} has no prober")


class Frozen:
    """The thread does not run inside the block. If a test ends the thread there, it must call reap()."""

    def __init__(self, tid):
        self.tid = tid

    def __enter__(self):
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if _libc.ptrace(request, self.tid, None, None) != 0:
                raise OSError(ctypes.get_errno(), f"ptrace of thread {self.tid}")
        os.waitpid(self.tid, WAIT_ALL)  # waits until it has stopped
        return self

    def __exit__(self, *_):
        _libc.ptrace(PTRACE_DETACH, self.tid, None, None)  # an error means that the thread is gone

    def reap(self):
        """A traced thread that has ended stays, and keeps its process, until its tracer has waited for it."""
        os.waitpid(self.tid, WAIT_ALL)
