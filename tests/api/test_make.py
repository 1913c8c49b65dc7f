"""make as people call it: as root in somebody's tree, with spaces in paths, over directories that exist already."""
import os
import shutil
import stat
import subprocess

import pytest
from harness import backend
from harness.cluster import ROOT

NOBODY = 65534
SOMEBODY = {"user": NOBODY, "group": NOBODY, "extra_groups": []}


@pytest.fixture
def tree(directory):
    """A copy of the sources and of their build, at a path with a space."""
    copy = os.path.join(directory, "a tree")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
    built = os.path.dirname(backend.PROGRAM)
    for name in ("cgi", "common", "watchdog"):
        shutil.copytree(os.path.join(built, name), os.path.join(copy, "build", name))
    for name in ("health-api", "health-watch", "prerequisites", "prerequisites-watch"):
        shutil.copy2(os.path.join(built, name), os.path.join(copy, "build"))
    return copy


def make(tree, *arguments, **options):
    """Calls make as a user does in a shell, without the environment of the make that runs the tests."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=tree, env=environment, text=True,
                          capture_output=True, timeout=300, check=False, **options)


def done(finished):
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def change(tree, source="common/text.c"):
    """Makes the source newer, as an editor does."""
    os.utime(os.path.join(tree, source))


def mode(*path):
    return oct(stat.S_IMODE(os.stat(os.path.join(*path)).st_mode))


def make_directory(path, bits):
    os.makedirs(path)
    os.chmod(path, bits)


def below(path):
    """Returns the directories and files below path, relative to it."""
    return {os.path.relpath(os.path.join(place, name), path)
            for place, directories, files in os.walk(path) for name in directories + files}


def not_of(owner, tree):
    return [path for path in below(tree) if os.lstat(os.path.join(tree, path)).st_uid != owner]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, because it tests what root leaves in the tree")
@pytest.mark.parametrize("compiler", ["cc", "false"])
def test_after_sudo_make_install_the_owner_of_the_tree_can_still_build(tree, directory, compiler):
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", tree], check=True)
    change(tree)
    installed = make(tree, "install", f"DESTDIR={directory}/root", f"CC={compiler}")
    assert (installed.returncode == 0) == (compiler == "cc"), installed.stderr
    assert not_of(NOBODY, tree) == []
    change(tree)
    assert "common/text.o" in done(make(tree, **SOMEBODY))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, because it tests what root leaves in the tree")
def test_what_an_older_version_left_to_root_is_given_back(tree, directory):
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", tree], check=True)
    subprocess.run(["chown", "-R", "0:0", f"{tree}/build"], check=True)
    done(make(tree, "install", f"DESTDIR={directory}/root"))
    assert not_of(NOBODY, tree) == []


def test_make_and_make_unit_work_in_a_path_with_a_space(tree):
    change(tree)
    assert "common/text.o" in done(make(tree))
    assert "PASSED" in (finished := make(tree, "unit", "UNIT_BIN=build/unit/common/test_quantity")).stdout + finished.stderr
    done(finished)


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "a;b"])
def test_a_destdir_with_a_space_is_one_directory(tree, directory, name):
    """Before the fix, make uninstall removed `a`, half of the path."""
    half = os.path.join(directory, "root", "a")
    make_directory(half, 0o755)
    other_half = os.path.join(tree, "b", "usr", "local", "share", "health-api")
    make_directory(other_half, 0o755)
    destdir = os.path.join(directory, "root", name)
    done(make(tree, "install", "DESTDIR=" + destdir.replace("$", "$$")))
    assert mode(destdir, "usr/local/bin/health-api") == "0o755"
    for_prometheus = os.path.join(destdir, "usr/local/share/health-api/prometheus")
    assert set(os.listdir(for_prometheus)) == set(os.listdir(os.path.join(tree, "deploy", "prometheus")))
    with open(os.path.join(destdir, "usr/local/lib/systemd/system/health-api.service"), encoding="utf-8") as unit:
        assert "ExecStart=/usr/local/bin/health-api\n" in unit.read()
    assert below(half) == set() and below(other_half) == set()
    done(make(tree, "uninstall", "DESTDIR=" + destdir.replace("$", "$$")))
    assert os.path.isdir(half) and os.path.isdir(other_half)
    assert set(os.listdir(os.path.join(directory, "root"))) == {"a", name}
    assert [path for path in below(destdir) if "health" in path or os.path.isfile(os.path.join(destdir, path))] == []


@pytest.mark.parametrize("target", ["install", "uninstall"])
@pytest.mark.parametrize("prefix", ["/opt/a b", "/opt/100%", "/opt/it's", "opt/relative"])
def test_a_prefix_that_no_unit_could_name_is_refused(tree, directory, target, prefix):
    half = os.path.join(directory, "root", "opt", "a")
    make_directory(half, 0o755)
    before = below(directory)
    finished = make(tree, target, f"DESTDIR={directory}/root", f"PREFIX={prefix}")
    assert finished.returncode != 0 and f"PREFIX='{prefix}'" in finished.stderr
    assert below(directory) == before


@pytest.mark.parametrize("target", ["all", "install", "clean"])
def test_a_build_directory_with_a_space_is_refused(tree, directory, target):
    """Before the fix, make clean removed `a`, half of the path."""
    make_directory(os.path.join(tree, "a"), 0o755)
    before = below(directory)
    finished = make(tree, target, f"DESTDIR={directory}/root", "BUILD=a b")
    assert finished.returncode != 0 and "BUILD='a b'" in finished.stderr
    assert below(directory) == before


def test_install_leaves_the_modes_of_what_is_there(tree, directory):
    """Before the fix, install opened a closed /etc/health-api, and directories lost their setgid bit."""
    root = os.path.join(directory, "root")
    for path, bits in (("etc/health-api", 0o750), ("usr/local/bin", 0o2775), ("usr/local/share/man/man8", 0o2775)):
        make_directory(os.path.join(root, path), bits)
    done(make(tree, "install", f"DESTDIR={root}", umask=0o077))
    os.chmod(os.path.join(root, "etc/health-api/checks.sql"), 0o640)
    done(make(tree, "install", f"DESTDIR={root}", umask=0o077))
    assert [mode(root, path) for path in ("etc/health-api", "usr/local/bin", "usr/local/share/man/man8",
                                          "etc/health-api/checks.sql")] == ["0o750", "0o2775", "0o2775", "0o640"]
    library = os.path.join(root, "usr/local/share/health-api/sql/library")
    assert set(os.listdir(library)) == set(os.listdir(os.path.join(ROOT, "sql", "library")))
    assert {mode(library, name) for name in os.listdir(library)} == {"0o644"}
    # All users may read new directories, whatever the umask is.
    assert {mode(root, path) for path in below(root) if path.startswith("usr/local/share/")
            and os.path.isdir(os.path.join(root, path))} - {"0o2775"} == {"0o755"}
    assert [mode(root, path) for path in ("etc/health-watch", "etc/health-api/environment", "etc/health-api/pgpass")] \
        == ["0o755", "0o600", "0o600"]
