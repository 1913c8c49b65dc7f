"""Describes the machine of the measurement, without host names or paths."""
import os
import platform
import re
import subprocess

from harness.backend import PROGRAM

from . import load, settings

PACKAGES = {"nginx": "nginx", "PostgreSQL": "postgresql", "libfcgi": "libfcgi-dev", "libpq": "libpq-dev", "gcc": "gcc",
            "Go": "golang-go", "pgx": "golang-github-jackc-pgx-v4-dev", "FastAPI": "python3-fastapi",
            "uvicorn": "uvicorn", "asyncpg": "python3-asyncpg", "php-fpm": "php-fpm", "fcgiwrap": "fcgiwrap",
            "wrk": "wrk"}


def version_of(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout or "not of Debian"


def describe():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
    with open("/proc/meminfo", encoding="ascii") as file:
        memory_kib = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1))
    program = subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return {"program": program, "cores": os.cpu_count(), "cpu": model[1] if model else platform.machine(),
            "memory": f"{memory_kib / 1024 ** 2:.0f} GiB", "kernel": re.match(r"[\d.]+", platform.release())[0],
            "load average at the start": f"{os.getloadavg()[0]:.1f}",
            "versions": ", ".join(f"{name} {version_of(package)}" for name, package in PACKAGES.items()),
            "method": f"{settings.ROUNDS} interleaved rounds of {settings.SECONDS:g} s, medians with (least-greatest), "
                      f"wrk -t 1 -c {load.CONNECTIONS}, loopback, keep-alive, one nginx worker"}
