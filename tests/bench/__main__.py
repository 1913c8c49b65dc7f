"""python3 -m bench DIRECTORY runs everything, and writes results.json and plot.svg to DIRECTORY."""
import os
import resource
import signal
import sys
import time

from . import (begin, checks, contenders, idle, latency, load, machine, memory, outage, plot, queries, rest, results,
               settings, speed, stage, work)


def say(text):
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {text}", flush=True)


BEGAN = time.monotonic()


def run_beside_peers(here, everyone, found):
    """Measures the figures that compare the programs, while all of them run."""
    health = here.start_health()
    everyone["health"].root_pid = health.pid
    answer = here.answer_of(health)
    here.start_nginx(lambda nginx: contenders.nginx_text(here, nginx, health.ask().body.decode()))
    started = contenders.start_all(here, everyone, answer)
    say("requests per second, CPU per request")
    speed.measure(here, everyone, found)
    say("p99 at a constant rate")
    latency.measure(here, everyone, started, health, found)
    say("the peers are stopped")
    here.stop_started()


def run_alone(here, everyone, found):
    """Measures one program after the other, with only nginx and the database beside it."""
    def each(title, measure, **options):
        say(title)
        health = here.start_health(**options)
        everyone["health"].root_pid = health.pid
        measure(health)
        health.stop()
    each("p99 with the database stopped", lambda health: latency.measure_stopped(here, everyone, health, found))
    each("queries", lambda health: queries.measure(here, health, found), **queries.checks(here))
    each("idle connections", lambda health: idle.measure(here, everyone, health, found), **idle.SETTINGS)
    say("1, 10, 100 checks")
    checks.measure(here, found)
    each("database work", lambda health: work.measure(here, everyone, health, found), **work.SETTINGS)
    say("CPU at rest")
    rest.measure(here, found)
    each("memory", lambda health: memory.measure(here, everyone, health, found), **memory.SETTINGS)
    say("starts and CGI requests")
    begin.measure_start(here, found)
    begin.measure_cgi(here, found)
    each("outages", lambda health: outage.measure(here, health, found))


def raise_descriptor_limit():
    """Raises the limit for this process and its children, because 1,000 idle connections have two ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8192:
        sys.exit(f"bench: the hard limit of open files is {hard}, expected at least 8192")
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, hard))


def main():
    output = sys.argv[1]
    programs = output.removesuffix("-smoke")
    os.makedirs(output, exist_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes its background processes ignore it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    raise_descriptor_limit()
    found = results.Results(machine.describe())
    everyone = contenders.all_of_them()
    with stage.Stage(programs) as here:
        say("creating the database")
        here.start_database()
        run_beside_peers(here, everyone, found)
        run_alone(here, everyone, found)
    found.print_table()
    found.save(os.path.join(output, "results.json"))
    with open(os.path.join(output, "plot.svg"), "w", encoding="utf-8") as file:
        file.write(plot.draw(found))
    say(f"written to {output}: results.json, plot.svg")
    if settings.SMOKE:
        print("This was a smoke run: its figures mean nothing.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
    except load.Failed as failure:
        sys.exit(f"bench: {failure}")
