"""python3 -m truth DIRECTORY does the chosen faults, and writes results.json to DIRECTORY. Exit status 1: a bound was
missed, or something failed."""
import contextlib
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time

from harness.backend import PROGRAM

from . import firewall, measure, plan, results, settings, stage, watchers

JUDGED = watchers.HealthApi.name
BEGAN = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {text}", flush=True)


def machine():
    """Describes the machine, without host names or paths."""
    program = subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return {"program": program, "cores": os.cpu_count(), "kernel": re.match(r"[\d.]+", platform.release())[0],
            "load average at the start": round(os.getloadavg()[0], 1)}


def describe(row, run):
    text = f"round {run.number + 1}: {row.name}: "
    if isinstance(row, plan.Outage):
        text += f"false green {run.false_green_s:.2f} s, recovery {run.recovery_s:.2f} s"
    else:
        text += f"red {run.recovery_s if isinstance(row, plan.OwnStop) else run.false_red_s:.2f} s"
    return text + (f", {run.says}" if run.says else "")


def measure_all(planned, found):
    """Fills found. Raises AssertionError when it cannot continue."""
    with contextlib.ExitStack() as open_ones:
        here = open_ones.enter_context(stage.Stage())
        seen = [open_ones.enter_context(watcher) for watcher in (watchers.HealthApi(here.health.address),)]
        measurement = measure.Measurement(here, seen)
        for number, row, phase in planned:
            if row.name in found.not_here:
                continue
            try:
                runs = measurement.run(row, number, phase)
            except firewall.NotHere as why:
                found.not_here[row.name] = str(why)
                continue
            for watcher, (quiet, run) in zip(seen, runs):
                found.add(watcher.name, quiet)
                found.add(watcher.name, run)
                if watcher.name == JUDGED:
                    say(describe(row, run))


def main():
    output = sys.argv[1]
    os.makedirs(output, exist_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes its background processes ignore it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("truth: terminated"))
    rows = plan.chosen()
    found, failure = results.Results(machine(), rows), None
    say(f"SEED={settings.SEED} RUNS={settings.RUNS}; creating the database")
    try:
        measure_all(plan.schedule(rows, settings.RUNS, random.Random(settings.SEED)), found)
    except AssertionError as caught:
        failure = str(caught)
    if JUDGED in found.runs:
        for watcher in found.runs:
            found.print_table(watcher)
        found.save(os.path.join(output, "results.json"))
        say(f"written to {output}: results.json")
    if failure:
        sys.exit(f"truth: {failure}")
    sys.exit(1 if found.complaints(JUDGED) else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("truth: interrupted")
    except ValueError as wrong:
        sys.exit(f"truth: {wrong}")
