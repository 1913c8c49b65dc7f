"""The command line and the output."""
import os
import re
import subprocess

import pytest

from harness import watchdog as w


def run(*arguments, **kwargs):
    return subprocess.run([w.PROGRAM, *arguments], text=True, capture_output=True, timeout=30, check=False,
                          stdin=subprocess.DEVNULL, **kwargs)


def test_version_and_help():
    assert re.fullmatch(r"health-watch \d+\.\d+\.\d+\n", run("--version").stdout)
    text = run("--help").stdout
    for word in ("--dry-run", "--json", "--check-config", "listener_protocol", "base_url", "evict_rogue", "Exit codes, the same as those of monitoring plugins: 0 all is well"):
        assert word in text


@pytest.mark.parametrize("arguments", [["--nonsense"], ["a", "b"], ["--json=x"]])
def test_wrong_usage_is_exit_3(arguments):
    done = run(*arguments)
    assert done.returncode == 3 and done.stderr and not done.stdout


def test_a_bad_file_is_exit_3_with_its_line(dog):
    dog.write("http://127.0.0.1", "core /", "auxx /")
    for arguments in ([], ["--check-config"], ["--dry-run"]):
        done = dog.run(*arguments)
        assert done.code == 3
        assert re.fullmatch(r"health-watch: .*watch.conf:\d+: key 'auxx': expected core, aux or one .*\n", done.err)


@pytest.mark.parametrize("make", [lambda path: None, os.mkdir, os.mkfifo, lambda path: open(path, "w").close()],
                         ids=["missing", "directory", "fifo", "empty"])
def test_a_watch_file_that_cannot_be_read_is_exit_3(dog, make):
    make(dog.file)
    done = dog.run()
    assert done.code == 3 and dog.file in done.err


def test_verbose_has_a_line_for_each_route(dog, site):
    dog.write(site.url, "core /", "aux /a")
    lines = dog.run("--verbose").lines
    assert re.fullmatch(r"core /: ok, 200 in \d+ ms, 1 try", lines[0])
    assert re.fullmatch(r"aux /a: ok, 200 in \d+ ms, 1 try", lines[1])


def test_the_json_document(dog, site):
    site.behaviours["/a"] = w.answers("500 Oops")
    dog.write(site.url, "core /", "aux /a")
    done = dog.run("--json")
    document = done.document
    assert done.code == 1 and len(done.lines) == 1
    assert document["status"] == "warning" and document["exit_code"] == 1
    assert document["summary"] == {"ok": 1, "timeout": 0, "rate_limited": 0, "http_error": 1, "unknown": 0}
    assert document["routes"][1] == {"path": "/a", "class": "aux", "liveness": False, "verdict": "http_error",
                                     "why": "500, not an accepted code", "code": 500, "tries": 1, "dead_tries": 0,
                                     "starved_tries": 0,
                                     "time_us": document["routes"][1]["time_us"]}
    assert document["recovery"] is None and document["rogues"] == [] and document["notes"] == []


def test_the_first_line_and_the_exit_code_serve_a_monitoring_plugin(dog, site):
    site.behaviours["/a"] = w.answers("500 Oops")
    dog.write(site.url, "core /", "aux /a")
    done = dog.run()
    assert done.code == 1 and done.lines[0].startswith("aux /a: 500, not an accepted code")
    old = dog.run("--nagios")  # an option of 0.1.0: the program prints a hint and continues
    assert old.code == 1 and old.lines[0].startswith("aux /a: 500") and old.summary == done.summary
    assert old.err.startswith("health-watch: --nagios was removed: ")


def test_a_report_that_cannot_be_written_is_exit_3(dog, site):
    dog.write(site.url, "core /")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([w.PROGRAM, dog.file], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 3


def test_closed_standard_descriptors_do_no_harm(dog, site):
    dog.write(site.url, "core /", unit="site")
    done = subprocess.run(["sh", "-c", f'exec "{w.PROGRAM}" "{dog.file}" <&- >&- 2>&-'], env=dog.environment(),
                          timeout=30, check=False)
    assert done.returncode == 0
