"""Stops one thread of a process by ptrace(2), as a hang would; SIGSTOP would stop all of them."""
import ctypes
import os

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WAIT_ALL = 0x40000000  # __WALL of wait(2): threads too

_libc = ctypes.CDLL(None, use_errno=True)


def threads(pid):
    """The ids of the process's threads by age: the main thread first, the prober last, a sanitizer's between."""
    return sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))


class Frozen:
    """While it lasts the thread does not run. The thread may be ended meanwhile; then reap() it."""

    def __init__(self, tid):
        self.tid = tid

    def __enter__(self):
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if _libc.ptrace(request, self.tid, None, None) != 0:
                raise OSError(ctypes.get_errno(), f"ptrace of thread {self.tid}")
        os.waitpid(self.tid, WAIT_ALL)  # until it has stopped
        return self

    def __exit__(self, *_):
        _libc.ptrace(PTRACE_DETACH, self.tid, None, None)  # an error: it is gone

    def reap(self):
        """A traced thread that was ended stays, and keeps its process, until its tracer has taken note."""
        os.waitpid(self.tid, WAIT_ALL)
