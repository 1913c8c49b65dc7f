"""The manual pages agree with what the programs print: each word comes once, with its default and its range. README and
docs/ have no dead links."""
import glob
import os
import re
import shutil
import subprocess

import pytest
from harness import backend, watchdog
from harness.cluster import ROOT

HEALTH_API = "health-api.8"
CHECKS = "health-api-checks.5"
HEALTH_WATCH = "health-watch.8"
WATCH_FILE = "health-watch.conf.5"

RANGE = re.compile(r"[Ff]rom (\w+) to (\w+)")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def section(page, title):
    """The text of a page below this heading: a section (.Sh) or a subsection (.Ss)."""
    found = re.findall(rf"^\.(Sh|Ss) {re.escape(title)}\n(.*?)(?=^\.(?:Sh|Ss) |\Z)", read("man", page), re.M | re.S)
    assert len(found) == 1, f"{page}: '{title}' is there {len(found)} times"
    return found[0][1]


def items(text, macro):
    """The tagged items of this macro: (word, default in parentheses or "-", text)."""
    found = re.findall(rf"^\.It {macro} (\S+)([^\n]*)\n(.*?)(?=^\.(?:It|El)|\Z)", text, re.M | re.S)
    return [(word, (re.search(r"Pq (?:[A-Z][a-z] )?(.*)", rest) or [None, "-"])[1], body) for word, rest, body in found]


def defaults(listed):
    """Each word with its default. A word that comes twice is an error."""
    words = [word for word, _, _ in listed]
    assert len(words) == len(set(words)), words
    return {word: default for word, default, _ in listed}


def range_of(text):
    found = RANGE.search(text)
    return found and found.groups()


@pytest.fixture(scope="module")
def api_help():
    return backend.run("--help").stdout


@pytest.fixture(scope="module")
def watch_help():
    return subprocess.run([watchdog.PROGRAM, "--help"], text=True, capture_output=True, timeout=30, check=True).stdout


def options_of(text):
    return set(re.findall(r"^  --(\S+)", text, re.M))


def exit_codes_of(text):
    """The numbers that begin a clause."""
    return set(re.findall(r"[:;]\s(\d+)\b", text[text.index("Exit codes"):]))


def route_options_of(text):
    body = re.search(r"Options of a route:\n\n(.*?)\n\n", text, re.S)[1]
    return set(re.findall(r"^  (\w+)", body, re.M))


def settings_of(text):
    return dict(re.findall(r"^  (HEALTH_\w+) +(\S.*?)  ", text, re.M))


def keys_of(text):
    listed = re.findall(r"^  (\w+) +(\S+) +\S", text[text.index("Keys with"):], re.M)
    version = re.search(r"health-watch/(\d\S*)", text)[1]
    return {key: default.replace(version, "VERSION") for key, default in listed}


@pytest.mark.parametrize("page, program", [(HEALTH_API, "api_help"), (HEALTH_WATCH, "watch_help")])
def test_the_page_has_the_options_and_exit_codes_that_help_shows(page, program, request):
    text = request.getfixturevalue(program)
    options = options_of(text)
    assert len(options) >= 4
    assert set(defaults(items(section(page, "DESCRIPTION"), "Fl"))) == {f"-{option}" for option in options}
    synopsis = section(page, "SYNOPSIS")
    assert set(re.findall(r"(?:Fl|\|) -([\w-]+)", synopsis)) == options
    codes = re.findall(r"^\.It (\d+)$", section(page, "EXIT STATUS"), re.M)
    assert len(codes) == len(set(codes))
    assert set(codes) == exit_codes_of(text)


def test_the_page_has_the_settings_that_help_shows_with_their_defaults(api_help):
    listed = settings_of(api_help)
    assert len(listed) >= 17
    assert defaults(items(section(HEALTH_API, "Settings"), "Ev")) == listed


def test_the_page_has_the_range_of_each_setting():
    """The range must be the one in the error for a bad value."""
    for name, _, text in items(section(HEALTH_API, "Settings"), "Ev"):
        error = backend.run("--check-config", **{"HEALTH_CHECKS": backend.CHECKS, name: "?"}).stderr
        expected = None if name == "HEALTH_FD_LIMIT" else range_of(error)  # its range depends on the machine
        assert range_of(text) == expected, f"{name}: {error}"


def test_the_page_has_the_keys_that_help_shows_with_their_defaults(watch_help):
    listed = keys_of(watch_help)
    assert len(listed) >= 19
    assert defaults(items(section(WATCH_FILE, "Keys"), "Cm")) == listed


# What writes a line of the log, and its level where the call does not name it.
WRITERS = {"log_event": None, "log_pace": "notice", "report_failure": "error"}


def logged_events():
    """Each event in the sources with its level, the graver one where there are two."""
    found = {}
    for path in glob.glob(os.path.join(ROOT, "cgi", "**", "*.c"), recursive=True):
        for writer, usual in WRITERS.items():
            for call in re.findall(rf"\b{writer}\(([^;]*);", read(path)):
                names = re.findall(r'"([^"]+)"', re.split(r"LOG_(?:STR|INT)\(", call)[0])
                levels = [level.lower() for level in re.findall(r"LOG_LEVEL_(\w+)", call)] or [usual]
                found.update({name: levels[0] for name in names})
    return found


def test_the_page_has_the_events_of_the_log_with_their_levels():
    listed = re.findall(r"^\.It Ql (.+) Pq (\w+)$", section(HEALTH_API, "Log events"), re.M)
    assert len(listed) > 30 and len(listed) == len(dict(listed))
    assert dict(listed) == logged_events()


def test_the_name_of_an_event_is_a_few_words_and_nothing_else():
    for name in logged_events():
        assert re.fullmatch(r"[a-z]+( [a-z]+){1,3}", name), name


def watch_error(directory, *lines):
    path = os.path.join(directory, "watch.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    return subprocess.run([watchdog.PROGRAM, "--check-config", path], text=True, capture_output=True, timeout=30,
                          check=False).stderr


def test_the_page_has_the_range_of_each_key_and_route_option(directory):
    for key, _, text in items(section(WATCH_FILE, "Keys"), "Cm"):
        error = watch_error(directory, f"{key} ?")
        assert range_of(text) == range_of(error), f"{key}: {error}"
    for option, _, text in items(section(WATCH_FILE, "Routes"), "Cm"):
        error = watch_error(directory, f"core / {option} ?")
        assert range_of(text) == range_of(error), f"{option}: {error}"


def test_the_page_has_the_options_of_a_route(watch_help, directory):
    listed = route_options_of(watch_help)
    assert len(listed) >= 5
    assert set(defaults(items(section(WATCH_FILE, "Routes"), "Cm"))) == listed
    error = watch_error(directory, "core / nonsense")
    assert set(re.findall(r"\w+", error.split("expected ")[1])) - {"or"} == listed


def test_the_page_has_the_annotations_that_the_program_knows(checks_file):
    def error_of(annotation):
        path = checks_file(f"-- check: one\n-- {annotation}\nSELECT 1;\n")
        return backend.run("--check-config", HEALTH_CHECKS=path).stderr

    error = error_of("nonsense: 1")
    known = set(re.findall(r"\w+", error.split("expected ")[1])) - {"or"}
    listed = items(section(CHECKS, "Annotations"), "Cm")
    assert len(known) >= 5
    assert set(defaults(listed)) == known
    for name, _, text in listed:
        error = error_of(f"{name}: ?")
        assert range_of(text) == range_of(error), f"{name}: {error}"


def reasons():
    """The reasons of the program, and those that nginx reports in its place."""
    words = set(re.findall(r'\[REASON_\w+\] = "(\w+)"', read("cgi", "reason.c"))) - {"none"}
    assert len(words) >= 17
    of_nginx = set(re.findall(r'"reason":"(\w+)"', read("nginx", "health-api.conf")))
    assert {"hung", "nginx"} <= of_nginx
    return words | of_nginx


def test_the_page_has_each_reason_and_no_other():
    assert set(defaults(items(section(HEALTH_API, "REASONS"), "Cm"))) == reasons()


def rows_of(document, heading):
    """The cells of the first table below this heading."""
    table = re.search(rf"^#+ {re.escape(heading)}\n.*?^\|[-|]+\|\n((?:\|[^\n]*\n)+)", read(*document.split("/")), re.M | re.S)[1]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


def test_the_runbook_says_what_to_do_for_each_reason():
    symptoms = " ".join(row[0] for row in rows_of("docs/runbook.md", "health-api: what it says"))
    assert [word for word in reasons() if f"`{word}`" not in symptoms] == []


def test_the_symptoms_in_the_runbook_are_messages_of_health_watch():
    """Ignores "..." and numbers, which are examples."""
    sources = "".join(read(path) for path in glob.glob(os.path.join(ROOT, "watchdog", "*.c")))
    said = re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r'"\s+"', "", sources))
    symptoms = [symptom for row in rows_of("docs/runbook.md", "health-watch") for symptom in re.findall(r"`([^`]+)`", row[0])]
    assert len(symptoms) >= 20
    for symptom in symptoms:
        for part in re.split(r"\.\.\.|\d+", symptom.removeprefix("recovery: ")):
            assert any(part in text for text in said), f"nothing says '{part}' of '{symptom}'"


def test_the_lines_of_ask_in_the_runbook_are_those_that_it_prints():
    sources = read("cgi", "ask.c") + read("common", "fastcgi.c")
    cells = [row[0] for row in rows_of("docs/runbook.md", "nginx, or health-api?")]
    lines = re.findall(r"`([^`]+)`", " ".join(cells))
    assert len(lines) >= 9
    assert [line for line in lines if line.removesuffix(" after 2 s") not in sources] == []


def test_the_pages_are_clean():
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is missing (Debian: mandoc); make lint installs it")
    pages = sorted(glob.glob(os.path.join(ROOT, "man", "*")))
    assert [os.path.basename(page) for page in pages] == sorted([HEALTH_API, CHECKS, HEALTH_WATCH, WATCH_FILE])
    # MANPATH: mandoc would check the index of this machine's own pages, too.
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], env={**os.environ, "MANPATH": "/"}, text=True,
                          capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


DOCUMENTS = ["README.md", *sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "*.md")))]


def anchors_of(text):
    """The anchors that the usual renderers make of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", read(document))
    assert links
    for link in links:
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
        assert os.path.exists(os.path.join(ROOT, target)), f"{document}: {link}"
        assert not anchor or anchor in anchors_of(read(target)), f"{document}: {link}"


def test_the_readme_is_read_in_two_minutes():
    text = read("README.md")
    assert len(text.splitlines()) <= 100
    assert len(text.split()) <= 850


def test_the_settings_are_listed_in_the_manual_alone(api_help):
    """In other documents a sentence may name a setting, but no table lists them."""
    for document in DOCUMENTS:
        for name in settings_of(api_help):
            assert not re.search(rf"^\|[^|]*{name}", read(document), re.M), f"{document}: a table lists {name}"
