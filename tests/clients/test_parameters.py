"""Long parameters: many long headers, a long query, and more than the program takes."""
import json

import pytest

from .test_answers import each_front

# These leave the limit to the program. The others refuse 70 KiB themselves, and CGI programs have no such limit.
WITHOUT_OWN_LIMIT = ("apache-unix", "apache-tcp", "caddy", "h2o", "cgi-fcgi")


def padding(kib):
    """Headers of this many KiB in all, each below the 8 KiB that Apache takes."""
    return [(f"X-Padding-{n}", "p" * (5 * 1024 - 16)) for n in range(kib // 5)]


@pytest.mark.parametrize("kib", [30, 60])
@each_front()
def test_long_headers_are_answered(front, name, kib):
    answer = front(name).ask_site("up", "GET", "/api/health", headers=padding(kib))
    assert (answer.status, answer.headers.get("x-health-source")) == (200, "backend"), answer
    assert json.loads(answer.body)["status"] == "healthy"


@pytest.mark.parametrize("kib", [12, 29])
@each_front()
def test_a_long_query_is_answered(front, name, kib):
    """Most web servers send the query twice, in QUERY_STRING and in REQUEST_URI. Apache leaves out both when they are
    longer than 16 KiB, one of its records (mod_proxy_fcgi.c, send_environment: "couldn't encode envvar")."""
    answer = front(name).ask_site("up", "GET", "/api/health?q=" + "q" * kib * 1024)
    assert (answer.status, answer.headers.get("x-health-source")) == (200, "backend"), answer


@each_front(WITHOUT_OWN_LIMIT)
def test_longer_parameters_get_an_error_response(front, name):
    answer = front(name).ask_site("up", "GET", "/api/health", headers=padding(70))
    assert (answer.status, answer.headers.get("x-health-source")) == (431, "backend"), answer
    assert json.loads(answer.body)["status"] == 431
