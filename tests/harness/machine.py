"""A machine of the tests' own: this one's files under a throw-away overlay, with a real systemd, in namespaces.

Everything is gone with the process that runs it: the mounts are in its mount namespace, the overlay is in memory."""
import os
import shutil
import signal
import subprocess
import tempfile

from . import process
from .cluster import ROOT
from .wait import wait_until

SOURCE = "/opt/health-api-source"


def why_not():
    """Why no machine can be booted here; "" when one can."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not shutil.which("systemd-nspawn"):
        return "systemd-nspawn is missing (Debian: systemd-container)"
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return "this root may not make namespaces (a container without CAP_SYS_ADMIN?)"
    return ""


class Machine:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="machine-")
        self.console = os.path.join(self.directory, "console.log")
        self.nspawn = None
        self.leader = None

    def boot(self):
        root = os.path.join(self.directory, "root")
        os.makedirs(root)
        # systemd's own view of cgroups as Debian 12 boots by default; no unit of the host's but those asked for.
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self.nspawn = process.start(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             'mount --bind / "$0" && exec systemd-nspawn --quiet --directory="$0" --volatile=overlay --register=no '
             '--keep-unit --private-network --machine=health-test --console=pipe --bind-ro="$1":"$2" --boot '
             'systemd.unit=basic.target', root, ROOT, SOURCE],
            env=environment, log=self.console)
        wait_until(self._find_leader, 20, "the machine's first process")
        wait_until(lambda: self.run("systemctl", "is-active", "basic.target", check=False).stdout == "active\n", 60,
                   "the machine has booted")
        return self

    def _find_leader(self):
        assert self.nspawn.poll() is None, f"systemd-nspawn ended: {open(self.console, encoding='utf-8').read()}"
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                    status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
            except OSError:
                continue
            if status["PPid"] == str(self.nspawn.pid) and status["NSpid"].split()[1:] == ["1"]:
                self.leader = int(pid)
                return True
        return False

    def shut_down(self):
        """Ends every process in it, with the first; nspawn then removes what it has made."""
        if self.leader:
            os.kill(self.leader, signal.SIGKILL)
        if self.nspawn:
            try:
                self.nspawn.wait(20)
            except subprocess.TimeoutExpired:
                process.end(self.nspawn, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, *argv):
        return ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--wd=/", "--", *argv]

    def run(self, *argv, check=True, stdin=None, timeout_s=60):
        """Runs a command in the machine to its end; its texts are in the result."""
        done = subprocess.run(self.command(*argv), input=stdin, text=True, capture_output=True, timeout=timeout_s,
                              check=False, stdin=None if stdin is not None else subprocess.DEVNULL,
                              env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                   "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""})
        if check and done.returncode != 0:
            raise AssertionError(f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def shell(self, script, check=True, timeout_s=60):
        return self.run("bash", "-euc", script, check=check, timeout_s=timeout_s).stdout

    def path(self, path):
        """A path of the machine as seen from here."""
        return f"/proc/{self.leader}/root{path}"

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(path), mode)

    def show(self, unit, *names):
        """Properties of a unit, as systemctl show has them."""
        text = self.run("systemctl", "show", unit, *[f"--property={name}" for name in names]).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def main_pid(self, unit="health-api.service"):
        """The unit's main process as its own machine numbers it; 0 when there is none."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def host_pid(self, pid):
        """The number that a process of the machine has here."""
        for here in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{here}/status", encoding="ascii", errors="replace") as file:
                    line = next(line for line in file if line.startswith("NSpid:"))
                same = os.readlink(f"/proc/{here}/ns/pid") == os.readlink(f"/proc/{self.leader}/ns/pid")
            except (OSError, StopIteration):
                continue
            if same and line.split()[-1] == str(pid):
                return int(here)
        raise AssertionError(f"no process {pid} in the machine")

    def journal(self, unit="health-api.service", since=None):
        """The lines of the unit; since: a cursor of journal_end."""
        options = [f"--after-cursor={since}"] if since else []
        return self.run("journalctl", "--unit", unit, "--output=cat", "--quiet", *options).stdout

    def journal_end(self):
        text = self.run("journalctl", "--lines=1", "--show-cursor", "--output=cat", "--quiet").stdout
        return text.rsplit("-- cursor: ", 1)[1].strip()
