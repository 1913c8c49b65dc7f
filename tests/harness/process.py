"""Starts child processes, and makes sure that they end."""
import ctypes
import os
import pwd
import shutil
import signal
import subprocess

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def copy_for_anyone(program, directory):
    """Copies the program to a place where every user may run it, because a checkout may be in a private directory."""
    return shutil.copy(program, directory)


def start(argv, env=None, stdin=subprocess.DEVNULL, log=None, user=None, **kwargs):
    """Starts argv in a session of its own. It dies with the test run. user: root runs it as this user."""
    identity = {}
    if user and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    output = open(log, "ab") if log else subprocess.DEVNULL
    try:
        return subprocess.Popen(argv, env=env, stdin=stdin, stdout=output, stderr=output, start_new_session=True,
                                preexec_fn=_die_with_parent, **identity, **kwargs)
    finally:
        if log:
            output.close()


def end(process, sig=signal.SIGTERM, deadline_s=10.0):
    """Sends sig and waits. If that does not help, kills the whole session. Returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(sig)
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode


def catches(pid, sig):
    """True: the process has a handler for this signal by now."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        caught = next((line for line in status if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (sig - 1) & 1)


def of(pid):
    """The children of a process, as /proc names them."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def cpu_s(pid):
    """The CPU time that a process has used, in seconds (utime and stime of proc(5))."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
