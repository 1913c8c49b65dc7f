"""The tests' own control groups. With them a process belongs to a unit without a systemd."""
import os

from .machine import own_cgroups
from .wait import wait_until


class Cgroup:
    """A control group of that name, below one for the directory of a test, in each hierarchy that systemd may use."""

    def __init__(self, name, directory):
        self.tops = own_cgroups("health-" + os.path.basename(directory) + ".slice")
        self.paths = [os.path.join(top, name) for top in self.tops]
        for path in self.paths:
            os.makedirs(path, exist_ok=True)

    def command(self, argv):
        """The command that starts argv in the group, so that all its children are in it, too."""
        enter = 'n=$0; while [ $n -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift; n=$((n - 1)); done; exec "$@"'
        return ["sh", "-euc", enter, str(len(self.paths)), *self.paths, *argv]

    def enter(self, pid):
        """Moves this process into the group. Returns the path that /proc/PID/cgroup has from then on."""
        for path in self.paths:
            with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as procs:
                procs.write(str(pid))
        name = "/" + os.path.basename(self.paths[0])
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            return next(line.strip().split(":", 2)[2] for line in file if line.strip().endswith(name))

    @staticmethod
    def leave(pid):
        """Moves this process back to the group of the tests."""
        for path in own_cgroups("."):
            with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as procs:
                procs.write(str(pid))

    def remove(self):
        """Call it when the processes in it have ended."""
        for path in self.paths + self.tops:
            wait_until(lambda path=path: self._is_removed(path), 20, f"{path} is empty")

    @staticmethod
    def _is_removed(path):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return len([entry for entry in os.scandir(path) if entry.is_dir()]) > 0  # it contains the group of another test
        return True
