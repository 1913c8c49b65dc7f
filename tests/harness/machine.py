"""A machine for the tests: the files of this host under a throw-away overlay, with a real systemd, in namespaces.

Nothing outlives the process that runs it: the mounts are in its mount namespace, and the overlay is in memory."""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

from . import process
from .cluster import ROOT
from .wait import wait_until

SOURCE = "/opt/health-api-source"
# The control group that pam_systemd(8) makes for a login of user 65534.
SESSION = "/sys/fs/cgroup/user.slice/user-65534.slice/session-99.scope"
# $0: the directory to mount as /. $1, $2: what to mount inside it, and where. The other arguments: the cgroups to enter.
# On this host, /etc/systemd/system has what is enabled, masked or changed. The booted machine starts with an empty one, so
# that only what the tests start runs there.
START = """
mount --bind / "$0"; root=$0 source=$1 shown=$2
shift 2
for cgroup; do echo $$ >"$cgroup/cgroup.procs"; done
exec systemd-nspawn --quiet --directory="$root" --volatile=overlay --register=no --keep-unit --private-network \\
    --machine=health-test --console=pipe --bind-ro="$source":"$shown" \\
    --tmpfs=/etc/systemd/system --boot systemd.unit=basic.target
"""


def why_not():
    """The reason why this host cannot boot a machine; "" if it can."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not shutil.which("systemd-nspawn"):
        return "systemd-nspawn is missing (Debian: systemd-container)"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        if not any(line.split()[4] == "/" for line in file):
            # systemd-nspawn cannot pivot there, and the booted system would clean the real /tmp.
            return "this is a chroot whose root is not a mount point"
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return "root is not allowed to create namespaces here (a container without CAP_SYS_ADMIN?)"
    return ""


def own_cgroups(name):
    """Paths for a cgroup of that name below this process's own cgroup, in each hierarchy that systemd may use."""
    mounts = {}
    with open("/proc/mounts", encoding="utf-8") as file:
        for _, path, kind, options, *_ in map(str.split, file):
            if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
                mounts[kind] = path
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = {controllers: path for _, controllers, path in (line.strip().split(":", 2) for line in file)}
    controllers = {"cgroup2": "", "cgroup": "name=systemd"}
    return [os.path.join(mounts[kind] + own[controllers[kind]], name) for kind in mounts]


def numbers_of(pid):
    """The pids that a process has: in this pid namespace, and in those below it."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return next(line for line in file if line.startswith("NSpid:")).split()[1:]


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


class Machine:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="machine-")
        self.console = os.path.join(self.directory, "console.log")
        self.cgroups = own_cgroups(os.path.basename(self.directory))
        self.runner = None
        self.leader = None

    def boot(self):
        root = os.path.join(self.directory, "root")
        os.makedirs(root)
        for cgroup in self.cgroups:
            os.mkdir(cgroup)
        # cgroups look as they do on Debian 12 by default. Of the units installed on this host, only the requested ones start.
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self.runner = process.start(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-euc", START, root, ROOT, SOURCE,
             *self.cgroups],
            env=environment, log=self.console)
        wait_until(self._find_leader, 20, "the machine's first process")
        wait_until(lambda: self.run("systemctl", "is-active", "basic.target", check=False).stdout == "active\n", 60,
                   "the machine has booted")
        return self

    def _find_leader(self):
        assert self.runner.poll() is None, f"systemd-nspawn ended: {open(self.console, encoding='utf-8').read()}"
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                    is_ours = f"/{os.path.basename(self.directory)}/" in file.read()
                if is_ours and numbers_of(pid)[2:] == ["1"]:  # it is pid 1 of the machine, and not nspawn
                    self.leader = int(pid)
                    return True
            except OSError:
                continue
        return False

    def shut_down(self):
        """Ends every process in the machine, the first one included. The mounts end with nspawn; this method removes the
        cgroups."""
        if self.runner:
            if self.leader and self.runner.poll() is None:
                os.kill(self.leader, signal.SIGKILL)
            try:
                self.runner.wait(20)
            except subprocess.TimeoutExpired:
                process.end(self.runner, signal.SIGKILL)
        for top in self.cgroups:
            for path, _, _ in os.walk(top, topdown=False):
                wait_until(lambda path=path: self._remove_cgroup(path), 20, f"{path} is empty")
        shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def _remove_cgroup(path):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return False  # a process still has to leave it
        return True

    def command(self, *argv):
        return ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--root", "--wd", "--", *argv]

    def run(self, *argv, check=True, stdin=None, timeout_s=60):
        """Runs a command in the machine and waits until it ends. Returns the finished process with its output as text."""
        try:
            done = subprocess.run(self.command(*argv), input=stdin, text=True, capture_output=True, timeout=timeout_s,
                                  check=False, stdin=None if stdin is not None else subprocess.DEVNULL,
                                  env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                       "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""})
        except subprocess.TimeoutExpired as late:
            if not check:
                raise
            raise AssertionError(f"{argv}: not within {timeout_s} s\n{self.unfinished_jobs()}") from late
        if check and done.returncode != 0:
            raise AssertionError(f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.failed_units()}")
        return done

    def failed_units(self):
        """What systemd and the journal say of each unit that has failed. systemctl status leaves out the lines that the
        journal took before systemd noted the time of the start: what a program says first, for as long as the machine is
        busy, and all of an earlier start. The journal first takes what it has not read yet (journalctl(1), --sync)."""
        return self.run("sh", "-c", "journalctl --sync; systemctl list-units --failed --plain --no-legend |"
                                    " while read -r unit _; do systemctl status --lines=0 \"$unit\";"
                                    " journalctl --unit \"$unit\" --lines=30; done",
                        check=False).stdout

    def unfinished_jobs(self):
        """What systemd has not finished, with the processes and the last lines of those units."""
        return self.run("sh", "-c", "systemctl list-jobs; systemctl list-jobs --no-legend |"
                                    " while read -r _ unit _; do systemctl status --lines=30 \"$unit\"; done",
                        check=False, timeout_s=20).stdout

    def shell(self, script, check=True, timeout_s=60):
        return self.run("bash", "-euc", script, check=check, timeout_s=timeout_s).stdout

    @contextlib.contextmanager
    def by_hand(self, *argv):
        """Runs a command for as long as the block lasts, as a user who has logged in. The command enters the control
        group of a login, because nsenter alone would leave it outside of all of the machine's groups. Yields the process, its pid here, and its pid in the machine."""
        session = self.path(SESSION)
        os.makedirs(session, exist_ok=True)
        process = subprocess.Popen(self.command("sh", "-c", 'read -r _; exec "$@"', "sh", *argv), stdin=subprocess.PIPE)
        pid = int(wait_until(lambda: children_of(process.pid), 10, "the child of nsenter")[0])
        try:
            # In a version 1 hierarchy that the machine's systemd does not use, all its processes are in one group.
            version_1 = [f"{path}/payload" for path in self.cgroups if not os.path.exists(f"{path}/cgroup.controllers")]
            for cgroup in (*version_1, session):
                with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write(str(pid))
            process.stdin.close()
            yield process, pid, int(numbers_of(pid)[-1])
        finally:
            if process.poll() is None:
                os.kill(pid, signal.SIGKILL)
                process.wait(10)
            for path in (session, os.path.dirname(session)):
                wait_until(lambda path=path: self._remove_cgroup(path), 20, f"{path} is empty")

    def path(self, path):
        """The path at which this host sees a path of the machine."""
        return f"/proc/{self.leader}/root{path}"

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(path), mode)

    def show(self, unit, *names):
        """Properties of a unit, as systemctl show prints them."""
        text = self.run("systemctl", "show", unit, *[f"--property={name}" for name in names]).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def main_pid(self, unit="health-api.service"):
        """The pid of the unit's main process inside the machine; 0 without one."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def host_pid(self, pid):
        """The pid that a process of the machine has on this host."""
        for here in filter(str.isdigit, os.listdir("/proc")):
            try:
                numbers = numbers_of(here)
                same = os.readlink(f"/proc/{here}/ns/pid") == os.readlink(f"/proc/{self.leader}/ns/pid")
            except OSError:
                continue
            if same and numbers[-1] == str(pid):
                return int(here)
        raise AssertionError(f"no process {pid} in the machine")

    def journal(self, unit="health-api.service", since=None):
        """The unit's journal lines. since: a cursor from journal_end."""
        options = [f"--after-cursor={since}"] if since else []
        return self.run("sh", "-c", 'journalctl --sync; exec journalctl "$@"', "sh", "--unit", unit, "--output=cat", "--quiet",
                        *options).stdout

    def journal_end(self, unit="health-api.service"):
        """A cursor at the unit's last line, or None without a line. With a cursor of another unit, journalctl leaves out
        some later lines."""
        text = self.run("journalctl", "--unit", unit, "--lines=1", "--show-cursor", "--output=cat", "--quiet", check=False).stdout
        return text.rsplit("-- cursor: ", 1)[1].strip() if text else None
