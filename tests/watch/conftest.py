"""Fixtures: health-watch with a systemctl that records its calls, and sites that stop when the test ends."""
import os
import shutil

import pytest

from harness import watchdog


@pytest.fixture
def systemctl(directory):
    return watchdog.Systemctl(directory)


@pytest.fixture
def dog(directory, systemctl):
    return watchdog.Watchdog(directory, systemctl)


@pytest.fixture
def start_site():
    sites = []

    def start(*args, **kwargs):
        sites.append(watchdog.Site(*args, **kwargs))
        return sites[-1]
    yield start
    for site in sites:
        site.close()


@pytest.fixture
def site(start_site):
    return start_site()


@pytest.fixture(autouse=True)
def _tools():
    assert os.path.exists(watchdog.PROGRAM), "make first"
    assert shutil.which("openssl")
