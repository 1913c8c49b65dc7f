"""A constant stream of requests with a random fault each second, for 60 s, or for SOAK_SECONDS with `make soak`."""
import os
import random
import re
import threading
import time

from harness.wait import hold_for, wait_until

from .conftest import ANSWERED_WITHIN_S

SECONDS = int(os.environ.get("SOAK_SECONDS", "60"))
# After this time a process has logged in again (HEALTH_RECONNECT_EVERY is 10 s). After a first reload it has all the memory
# that it needs: the thread that reads the checks file gets an arena of its own from malloc, once, of 150 KiB.
SETTLED_S = 12
# Measured: 50 KiB, which the allocator does not return. A leak would grow with each of hundreds of requests or faults.
RSS_NOISE_BYTES = 256 << 10
CLUSTER = "postgresql@15-main.service"


def stop_database(machine):
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGQUIT", CLUSTER, check=False)


def start_database(machine):
    machine.run("systemctl", "restart", CLUSTER, check=False)


def kill_backend(machine):
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "health-api.service", check=False)


def send_sighup(machine):
    machine.run("systemctl", "reload", "health-api.service", check=False)


def restart(machine):
    machine.run("systemctl", "restart", "health-api.service", check=False)


def lock_table(machine):
    # A small table: on a loaded machine a count of the large one takes so long that it is rare (HEALTH_MAX_LOAD).
    machine.shell("runuser -u postgres -- psql -X -q -d knowledge "
                  "-c 'BEGIN; LOCK debates; SELECT pg_sleep(5)' >/dev/null 2>&1 || true")


def reload_nginx(machine):
    machine.run("systemctl", "reload", "nginx.service", check=False)


# For each fault the text in the journal that shows its effect.
TRACES = {
    "stop_database": r"check=database reason=(unreachable|restarting)",
    "lock_table": r"check=debates reason=query_timeout",
    "send_sighup": r'event="checks reloaded"',
    "kill_backend": r'event="server started"(.|\n)*event="server started"',
    "restart": r'event="server stopped"',
}

FAULTS_IT_LIVES_THROUGH = [stop_database, start_database, send_sighup, lock_table, reload_nginx]
FAULTS = FAULTS_IT_LIVES_THROUGH + [kill_backend, restart]


def figures(machine):
    """Waits until the database works again. Returns the service's pid, its descriptors without those of peers, and its
    memory."""
    machine.run("systemctl", "restart", CLUSTER)
    machine.wait_status("healthy", 30)
    machine.run("systemctl", "reload", "health-api.service")
    wait_until(lambda: machine.ask("/api/status")[2]["uptime_seconds"] >= SETTLED_S, 30, "a settled process")
    samples = []
    hold_for(lambda: samples.append(machine.ask("/api/status")[2]["process"]) is None, 2)
    # The least of several samples, because a second session comes and goes.
    fds = min(process["open_fds"] - process["connections"] for process in samples)
    return samples[-1]["pid"], fds, samples[-1]["rss_bytes"]


def run_faults(machine, choice, faults, seconds, counts):
    """Starts one fault per second, and returns when all have ended."""
    began, due, running = time.monotonic(), time.monotonic(), []
    while time.monotonic() - began < seconds:
        wait_until(lambda: time.monotonic() >= due, 10, "the next second")  # noqa: B023
        due += 1
        fault = choice.choice(faults)
        counts[fault.__name__] += 1
        running.append(threading.Thread(target=fault, args=(machine,)))
        running[-1].start()
    for thread in running:
        thread.join(60)
        assert not thread.is_alive()


def see_trace(machine, fault):
    """Does the fault alone, and waits for its effect. Before, another fault may have hidden it each time."""
    machine.run("systemctl", "restart", CLUSTER)
    machine.wait_status("healthy", 30)
    running = threading.Thread(target=fault, args=(machine,))
    running.start()
    wait_until(lambda: re.search(TRACES[fault.__name__], machine.journal()), 20, f"a trace of {fault.__name__}")
    running.join(60)
    machine.run("systemctl", "restart", CLUSTER)
    machine.wait_status("healthy", 30)


def test_soak(machine):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, {SECONDS} s")
    choice = random.Random(seed)
    counts = dict.fromkeys((fault.__name__ for fault in FAULTS), 0)
    with machine.stream() as stream:
        run_faults(machine, choice, FAULTS, SECONDS / 2, counts)
        # A leak shows only while the process is not replaced.
        pid_before, fds_before, rss_before = figures(machine)
        run_faults(machine, choice, FAULTS_IT_LIVES_THROUGH, SECONDS / 2, counts)
        pid_after, fds_after, rss_after = figures(machine)
    strange = [answer for answer in stream.results if "error" in answer or answer["status"] not in (200, 503)
               or answer["took"] > ANSWERED_WITHIN_S]
    slowest = max(answer["took"] for answer in stream.results)
    healthy = sum(answer["status"] == 200 for answer in stream.results)
    print(f"{len(stream.results)} answers, {healthy} of them 200, the slowest {slowest:.3f} s, "
          f"{stream.slowest_in_nginx:.3f} s by nginx's clock; {counts}")
    assert not strange, f"seed {seed}: {len(strange)} of {len(stream.results)}: {strange[:5]}"
    assert len(stream.results) > 40 * SECONDS and healthy > 100
    print(f"descriptors {fds_before} to {fds_after}, RSS {rss_before >> 10} to {rss_after >> 10} KiB")
    assert pid_after == pid_before
    assert fds_after <= fds_before
    assert rss_after <= rss_before + RSS_NOISE_BYTES
    assert machine.shell("ls /run/health-api").split() == ["health-api.sock"]
    with open(f"/proc/{machine.host_pid(pid_after)}/status", encoding="utf-8") as status:
        assert "\nThreads:\t3\n" in status.read()  # main, prober, and the errand that looks for the drain file
    assert machine.shell("pgrep --exact health-api").split() == [str(pid_after)]
    for fault in FAULTS:
        if fault.__name__ in TRACES and not re.search(TRACES[fault.__name__], machine.journal()):
            see_trace(machine, fault)
    connections = machine.shell("runuser -u postgres -- psql -X -A -t -d knowledge -c \"SELECT count(*) FROM "
                                "pg_stat_activity WHERE application_name = 'health-api'\"")
    assert int(connections) <= 2
