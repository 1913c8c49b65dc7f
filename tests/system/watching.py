"""Helpers to run health-watch on the machine of the tests, to change its files, and to start services for it to guard."""
import contextlib

from harness import contract
from harness.machine import SOURCE
from harness.wait import wait_until

UNIT = "health-watch.service"
TIMER = "health-watch.timer"
CONF = "/etc/health-watch/watch.conf"
STATE = "/var/lib/health-watch"
RUNTIME_UNITS = "/run/systemd/system"

QUICK = """unit site.service
start_grace 0s
cooldown 0s
retry_wait 100ms
timeout 1s
"""
OWN_SITE = f"""base_url http://127.0.0.1:8000
listener tcp:127.0.0.1:8000
{QUICK}"""


def site_command(where, hang="/run/hang"):
    return f"/usr/bin/python3 {SOURCE}/tests/system/site.py {where} {hang}"


def site_unit(where, settings=""):
    """A service that listens there, hangs while /run/hang exists, and is restarted 2 s after its exit."""
    return ("[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=2s\n"
            f"ExecStart={site_command(where)}\n{settings}\n")


SITE_UNIT = site_unit("8000")


def watch(machine, *options, conf=None):
    """Makes one run. Returns its exit code and its output."""
    if conf is not None:
        machine.write("/run/watch.conf", conf)
        options = (*options, "/run/watch.conf")
    done = machine.run("/usr/local/bin/health-watch", *options, check=False, timeout_s=120)
    if "--json" in options:
        contract.notes.add("health-watch", None, done.stdout.encode())
    return done.returncode, done.stdout + done.stderr


def run_the_unit(machine, conf):
    """Makes one run of the installed health-watch.service with another watch file. Returns its exit code, or 0 for a warning,
    and the journal of the run with systemd's own lines."""
    before = machine.journal_end(UNIT)
    with installed_file(machine, conf):
        done = machine.run("systemctl", "start", "--wait", UNIT, check=False, timeout_s=120)
    machine.run("journalctl", "--sync")
    shown = machine.show(UNIT, "ActiveState", "Result", "ExecMainStatus")
    # systemd forgets a unit that exited cleanly, and its exit code too.
    assert (done.returncode == 0) == (shown["ActiveState"] == "inactive") and shown["Result"] in ("success", "exit-code"), shown
    return done.returncode and int(shown["ExecMainStatus"]), machine.journal(UNIT, before)


def forget_recoveries(machine):
    machine.shell(f"rm -rf {STATE} && mkdir -p {STATE}")


def answers(machine, path="/", url="http://127.0.0.1:8000", options=()):
    return machine.run("curl", "-s", "-f", "-g", "--max-time", "2", "-o", "/dev/null", *options, url + path,
                       check=False).returncode == 0


def shipped_file(machine):
    with open(machine.path(CONF), encoding="utf-8") as file:
        return file.read()


def shipped_with(machine, **keys):
    """The shipped watch file with other values; None removes a key."""
    lines = [line for line in shipped_file(machine).splitlines() if not line or line.split()[0] not in keys]
    return "\n".join([*lines, *(f"{key} {value}" for key, value in keys.items() if value is not None)]) + "\n"


@contextlib.contextmanager
def installed_file(machine, text):
    """Gives the installed health-watch.service another watch file."""
    shipped = shipped_file(machine)
    machine.write(CONF, text)
    try:
        yield
    finally:
        machine.write(CONF, shipped)


@contextlib.contextmanager
def service(machine, text, name="site.service", start=("start",)):
    """Starts a service with this unit file."""
    machine.write(f"{RUNTIME_UNITS}/{name}", text)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", *start, name)
    try:
        yield
    finally:
        machine.shell(f"rm -f /run/hang; systemctl stop {name}; systemctl kill --signal=SIGKILL {name} 2>/dev/null || true; "
                      f"systemctl reset-failed {name} 2>/dev/null || true; rm {RUNTIME_UNITS}/{name}; systemctl daemon-reload")


@contextlib.contextmanager
def drop_in(machine, unit, text):
    path = f"{RUNTIME_UNITS}/{unit}.d"
    machine.write(f"{path}/test.conf", text)
    machine.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        machine.shell(f"rm -r {path}; systemctl daemon-reload")


@contextlib.contextmanager
def rogue(machine, *launcher):
    """Starts a server of the user nobody on the port, without a unit. Yields its process here, and its pid in the machine.
    launcher: a command that starts it."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with machine.by_hand(*launcher, *as_nobody, *site_command("8000", "/run/none").split()) as (process, _, pid):
        wait_until(lambda: answers(machine), 20, "the rogue answers")
        yield process, pid


def start_in_vain(site):
    """Starts the site while another process holds its port, and waits until the unit is in its restart loop."""
    site.run("systemctl", "start", "site.service")
    wait_until(lambda: int(site.show("site.service", "NRestarts")["NRestarts"]) >= 1, 20, "the restart loop")
