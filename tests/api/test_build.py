"""If make cannot build, it prints one sentence and compiles nothing."""
import os
import subprocess

import pytest
from harness.cluster import ROOT


def make(directory, *arguments):
    """Calls make with its own build directory, and without the environment of the make that runs these tests."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "BUILD")}
    return subprocess.run(["make", "-C", ROOT, "--no-print-directory", f"BUILD={directory}/build", *arguments], text=True,
                          env=environment, capture_output=True, timeout=120, check=False)


@pytest.fixture
def pkg_config(directory):
    """Returns a pkg-config that finds only these packages, each a word NAME=VERSION."""
    def write(*versions):
        path = os.path.join(directory, "pkg-config")
        cases = "".join(f"{word.replace('=', ') version=')} ;;\n" for word in versions)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"""#!/bin/sh
[ "$1" != --cflags ] || {{ echo "compiling" >&2; exit; }}
option=$1
shift $(($# > 1))
for name; do
case $name in
--*) echo "unknown option $name" >&2; exit 1 ;;
{cases}*) exit 1 ;;
esac
case $option in
--modversion) echo "$version" ;;
--atleast-version=*) printf '%s\\n' "${{option#*=}}" "$version" | sort -VC || exit 1 ;;
esac
done
""")
        os.chmod(path, 0o755)
        return f"PKG_CONFIG={path}"
    return write


def assert_stops_with(done, *words):
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done
    assert "compiling" not in done.stderr and ": error: " not in done.stderr.replace("error: #error", ""), done


@pytest.mark.parametrize("version", ["13.22", "9.6.24"])
def test_a_libpq_that_is_too_old_is_named_before_anything_is_compiled(directory, pkg_config, version):
    done = make(directory, pkg_config("fcgi=2.4.2", f"libpq={version}", "json-c=0.15", "libcurl=7.74.0"), "all")
    assert_stops_with(done, "health-api needs libpq 14 or later", f"finds libpq {version}.")


def test_what_pkg_config_does_not_find_is_named(directory, pkg_config):
    done = make(directory, pkg_config("fcgi=2.4.2"), "all")
    assert_stops_with(done, "libpq (14 or later)", "does not find libpq json-c.", "make packages")


def test_a_machine_without_pkg_config_is_told_so(directory):
    assert_stops_with(make(directory, "PKG_CONFIG=/nowhere/pkg-config", "all"), "needs a C compiler, pkg-config and")


def test_a_compiler_for_32_bits_is_refused_with_a_word(directory):
    assert_stops_with(make(directory, "CFLAGS=-m32", "all"), "health-api and health-watch need 64-bit Linux")


def test_health_watch_is_compiled_where_glibc_has_no_pidfd_header(directory):
    """glibc has the header since 2.36. Debian 11 and Ubuntu 22.04 have an older one."""
    os.makedirs(f"{directory}/sys")
    with open(f"{directory}/sys/pidfd.h", "w", encoding="ascii") as file:
        file.write('#error "there is no such header"\n')
    done = make(directory, f"CPPFLAGS=-I{directory}", *(f"{directory}/build/watchdog/{name}.o" for name in ("command", "evict")))
    assert done.returncode == 0, done
