"""The shipped files in other people's sites. They work beside the directives of a site, and those do not affect the
public routes."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest
from harness import http2
from harness.cluster import ROOT
from harness.site import PAGE, Site, documented
from harness.wait import wait_until

from .real_sites import INCLUDE, MICROCACHE_HTTP, REAL_SITES, REDIRECT

OF_THE_BACKEND = {"Server", "Date", "Content-Type", "Content-Length", "Connection", "Cache-Control",
                  "X-Content-Type-Options", "X-Health-Source"}
PUBLIC = ("/api/health", "/api/health/live")
OF_OPERATORS = ("/api/status", "/api/metrics")
SECRETS = (b'"config"', b"health_api_")


@pytest.fixture
def start_site(directory):
    servers = []

    def start(changes=(), **config):
        """changes: (file below etc, old text, new text)."""
        site = Site(directory)
        site.configure(**config)
        for name, old, new in changes:
            site.change(f"etc/{name}", old, new)
        done = site.check()
        assert done.returncode == 0 and "warn" not in done.stderr, done.stderr
        servers.append(site.start_configured())
        return site
    yield start
    for server in servers:
        server.stop()


def assert_is_as_shipped(answer, status=200, source="backend", more=(), content_type="application/json"):
    """Checks the status, the source and the headers. Each header comes once, and none is the site's."""
    assert (answer.status, answer.headers.get("X-Health-Source")) == (status, source), (answer.status, answer.body)
    names = [name.title() for name, _ in answer.header_lines]
    assert sorted(names) == sorted(OF_THE_BACKEND | set(more)), names
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    if content_type == "application/json":
        json.loads(answer.body)


def assert_refuses_operators_routes(site, **options):
    for path in OF_OPERATORS:
        answer = site.ask(path, **options)
        assert answer.status == 403 and answer.headers["Content-Type"] == "application/problem+json"
        assert "http://127.0.0.1:8078/api/status or /api/metrics" in json.loads(answer.body)["detail"]


def hides(site, path):
    """The site hides it with a 403 or its own response, such as 444 or 301. A degraded status would be a 503."""
    try:
        answer = site.ask(path)
        return answer.status != 200 and not any(secret in answer.body for secret in SECRETS)
    except http.client.RemoteDisconnected:
        return True


def assert_shows_operators_routes(site, **options):
    status, metrics = (site.ask(path, **options) for path in OF_OPERATORS)
    assert_is_as_shipped(status)
    assert "config" in json.loads(status.body)
    assert_is_as_shipped(metrics, content_type="text/plain; version=0.0.4; charset=utf-8")
    assert b"\nhealth_api_healthy 1\n" in metrics.body


@pytest.mark.parametrize("config", REAL_SITES)
def test_a_popular_site_serves_the_public_routes_and_hides_the_others(backend, start_site, config):
    site = start_site(**config)
    for path in PUBLIC * 2:
        assert_is_as_shipped(site.ask(path, headers={"Accept-Encoding": "gzip"}))
    assert all(hides(site, path) for path in OF_OPERATORS)
    assert_shows_operators_routes(site, port=site.operators_port)
    assert "uninitialized" not in site.error_log()


def debians_default(directory):
    """Debian's own site as its package brings it, after the documented command; for a Site's others, at OTHER_PORT."""
    path = os.path.join(directory, "default")
    shutil.copy("/etc/nginx/sites-available/default", path)
    command = documented("<!-- tests run this block: debian -->").replace("/etc/nginx/sites-available/default", path)
    subprocess.run(["sh", "-euc", command], check=True)
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"(?m)^\s*#.*", "", file.read())
    assert text.count("default_server;") == 2
    return text.replace("listen 80 ", "listen 127.0.0.1:OTHER_PORT ").replace("listen [::]:80 default_server;", "")


def sample():
    """The server block that docs/nginx.md shows, at the port of Debian's."""
    shown = documented("<!-- tests run this block: sample -->", "nginx")
    assert shown.count("listen 80") == 1
    return shown.replace("listen 80", "listen 127.0.0.1:OTHER_PORT")


def test_the_server_block_of_the_document_fits_beside_debians_own(backend, start_site, directory):
    """nginx -t: a duplicate default server for 0.0.0.0:80. Who asks by address gets Debian's block then, as it says."""
    site = start_site(others=debians_default(directory) + sample())
    for host in ("127.0.0.1", "example.org"):
        assert_is_as_shipped(site.ask(port=site.other_port, headers={"Host": host}))


def test_the_server_block_of_the_document_is_enough_where_debians_own_is_removed(backend, start_site):
    site = start_site(others=sample())
    assert_is_as_shipped(site.ask(port=site.other_port))


@pytest.mark.parametrize("place", ["http", "server"])
@pytest.mark.parametrize("tuning", [
    "fastcgi_buffer_size 128k; fastcgi_buffers 4 256k; fastcgi_busy_buffers_size 256k;",
    "fastcgi_buffers 8 128k; fastcgi_buffer_size 256k;",
    "fastcgi_buffers 256 16k; fastcgi_buffer_size 128k;",
    "fastcgi_temp_file_write_size 4k; fastcgi_buffer_size 2k; fastcgi_buffers 8 2k; fastcgi_busy_buffers_size 4k;",
    "fastcgi_max_temp_file_size 64k; fastcgi_buffering off; fastcgi_request_buffering off;",
    "fastcgi_next_upstream_tries 1; fastcgi_bind 127.0.0.1; fastcgi_force_ranges on; fastcgi_store on;"
    " fastcgi_hide_header Cache-Control; fastcgi_pass_header Status; fastcgi_limit_rate 1;",
])
def test_nginx_starts_with_the_settings_that_people_have_for_php(backend, start_site, place, tuning):
    site = start_site(**{"server": INCLUDE, place: tuning + (INCLUDE if place == "server" else "")})
    assert_is_as_shipped(site.ask(headers={"Range": "bytes=0-1"}))
    assert_shows_operators_routes(site, port=site.operators_port)


def test_the_routes_are_the_same_over_tls_and_http2(backend, start_site, directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
                    "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem"], check=True, capture_output=True)
    site = start_site(server=REDIRECT, others=f"""
        server {{
            listen 127.0.0.1:OTHER_PORT ssl http2; {INCLUDE} server_name example.org; root DIR/www;
            ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; ssl_session_cache shared:SSL:1m;
            add_header Strict-Transport-Security "max-age=63072000" always;
        }}""")
    assert_is_as_shipped(site.ask())
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{site.other_port}/api/health", context=insecure, timeout=10) as answer:
        assert answer.status == 200 and answer.headers["Strict-Transport-Security"] is None
    two = subprocess.run(["curl", "-sSk", "-i", "--http2", f"https://127.0.0.1:{site.other_port}/api/health"],
                         capture_output=True, text=True, check=True, timeout=10).stdout
    assert two.startswith("HTTP/2 200") and "x-health-source: backend" in two and "strict-transport" not in two


# What a server block may do to all of its locations.

AUTH_REQUEST = "auth_request /auth; location = /auth { internal; return STATUS; }"
DEEDS = {
    "auth_basic": 'auth_basic "closed"; auth_basic_user_file DIR/none;',
    "deny": "deny all;",
    "satisfy any": 'satisfy any; deny all; auth_basic "closed"; auth_basic_user_file DIR/none;',
    "auth_request 401": AUTH_REQUEST.replace("STATUS", "401"),
    "auth_request 500": AUTH_REQUEST.replace("STATUS", "500"),
    "return": "return 301 https://$host$request_uri;",
    "return 403": "if ($http_user_agent !~ Mozilla) { return 403; }",
    "rewrite": "rewrite ^/(.*)$ /index.html last;",
    "rewrite to a host": "rewrite ^ https://www.example.org$request_uri permanent;",
    "error_page": "error_page 500 502 503 504 =200 /index.html; error_page 404 =200 /index.html;",
    "recursive_error_pages": "recursive_error_pages on; error_page 502 503 =200 /index.html; fastcgi_intercept_errors on;",
    "sub_filter": "sub_filter '\"status\"' '\"state\"'; sub_filter_types *; sub_filter_once off;",
    "add_header": 'add_header Strict-Transport-Security "max-age=1" always; add_header Cache-Control public always;'
                  " add_header X-Content-Type-Options nosniff always;",
    "expires": "expires 30d;",
    "gzip": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; gzip_vary on;",
    "charset": "charset utf-8; charset_types *;",
    "ssi": "ssi on; ssi_types *;",
    "addition": "add_before_body /index.html; add_after_body /index.html; addition_types *;",
    "userid": "userid on;",
    "mirror": "mirror /mirror; location = /mirror { internal; log_subrequest on; access_log DIR/mirrored; return 200; }",
    "limit_rate": "limit_rate 100;",
    "client_body_in_file_only": "client_body_in_file_only on;",
}
LIMITS_HTTP = "limit_req_zone $scheme zone=req:1m rate=1r/m; limit_conn_zone $scheme zone=conn:1m;"


@pytest.mark.parametrize("deed", DEEDS)
def test_directives_of_the_server_block_do_not_affect_the_public_routes(backend, start_site, directory, deed):
    """Neither the responses of the program change, nor those that nginx sends in its place."""
    site = start_site(server=f"{INCLUDE} root DIR/www; {DEEDS[deed]}")
    ask = {"headers": {"Accept-Encoding": "gzip"}}
    for path in PUBLIC:
        began = time.monotonic()
        assert_is_as_shipped(site.ask(path, **ask))
        assert time.monotonic() - began < 2
        assert site.ask(path, "POST", body=b"x").status == 405
    backend.process.kill()
    backend.process.wait()
    for path in PUBLIC:
        answer = site.ask(path, **ask)
        assert_is_as_shipped(answer, 503, "nginx", more=["Retry-After"])
        assert json.loads(answer.body)["failing"] == [{"check": "backend", "reason": "unreachable"}]
    assert not os.path.exists(f"{directory}/mirrored") or os.path.getsize(f"{directory}/mirrored") == 0


def test_a_cache_of_the_site_keeps_no_answer(backend, start_site):
    """A kept 200 would hide every failure for an hour."""
    site = start_site(http=MICROCACHE_HTTP)
    for path in PUBLIC:
        assert_is_as_shipped(site.ask(path))
    backend.process.kill()
    backend.process.wait()
    for path in PUBLIC:
        assert_is_as_shipped(site.ask(path), 503, "nginx", more=["Retry-After"])


def test_errors_of_the_program_pass_where_the_site_intercepts_those_of_its_application(start_backend, start_site):
    start_backend(PGHOST="/nowhere").wait_status("degraded")
    site = start_site(server=f"fastcgi_intercept_errors on; {INCLUDE}")
    answer = site.ask()
    assert_is_as_shipped(answer, 503, more=["Retry-After"])
    assert json.loads(answer.body)["failing"] == [{"check": "database", "reason": "unreachable"}]
    assert_is_as_shipped(site.ask("/api/health?%zz"), 400, content_type="application/problem+json")


def test_the_captures_of_the_server_name_stay(backend, start_site, directory):
    """A site with many names. With an empty $2, each name would show the files of all."""
    site = start_site(server="server_name ~^(www\\.)?(.+)$; " + INCLUDE + " location / { root DIR/www/$2; }")
    for name in ("example.org", "other.org"):
        os.makedirs(f"{directory}/www/{name}")
        with open(f"{directory}/www/{name}/page", "w", encoding="ascii") as page:
            page.write(name)
    for name in ("example.org", "www.other.org"):
        answer = site.ask("/page", headers={"Host": name})
        assert (answer.status, answer.body.decode()) == (200, name.removeprefix("www."))
        assert site.ask("/other.org/page", headers={"Host": name}).status == 404
        assert_is_as_shipped(site.ask(headers={"Host": name}))


def test_responses_of_nginx_itself_are_in_the_log_of_the_health_routes(backend, start_site, directory):
    """This also holds for a site that logs nothing."""
    site = start_site(server=f"{INCLUDE} access_log off;")
    assert site.ask().status == 200
    backend.process.kill()
    backend.process.wait()
    assert (site.ask().status, site.ask("/api/status").status) == (503, 403)

    def logged():
        with open(f"{directory}/access.log", encoding="ascii") as log:
            return re.findall(r'"GET (\S+) HTTP/1.1" (\d+)', log.read())
    wait_until(lambda: logged() == [("/api/health", "503"), ("/api/status", "403")], 5, "two lines")


def test_a_limit_of_the_site_does_not_apply_to_checks(backend, start_site):
    """Otherwise visitors would use up the limit, nginx would refuse the load balancer's checks from the same address, and
    the machine would go down."""
    site = start_site(http=LIMITS_HTTP, server=f"{INCLUDE} root DIR/www; limit_req zone=req; limit_conn conn 1;")
    assert site.ask("/index.html").status == 200
    assert site.ask("/index.html").status == 503  # the site's limit has an effect
    for _ in range(30):
        for path in PUBLIC:
            assert_is_as_shipped(site.ask(path))


def test_directives_before_the_include_affect_the_public_routes(backend, start_site, directory):
    """The files document this: a maintenance switch can take the machine out of the load balancer."""
    site = start_site(server=f"root DIR/www; if (-f DIR/www/off) {{ return 503; }} {INCLUDE}")
    assert site.ask().status == 200
    open(f"{directory}/www/off", "w", encoding="ascii").close()
    assert site.ask().status == 503


def test_the_server_block_still_applies_to_the_rest_of_the_site(backend, start_site):
    """The include cancels rewrites for our paths alone, and for no path that looks similar."""
    site = start_site(server=f"{INCLUDE} root DIR/www; rewrite ^ /index.html last;")
    for path in ("/", "/api", "/api/healthy", "/api/health%0A", "/api/healthz/live", "/api/status/x", "/.health-api/nothing",
                 "/.health-api/refused%0A", "/.health-api/refusedx"):
        assert site.ask(path).body == PAGE.encode(), path
    assert site.ask("/.health-api/refused").status == 404  # clients cannot reach this location


@pytest.mark.parametrize("deed, status", [("auth_basic", 401), ("deny", 403), ("auth_request 401", 401)])
def test_the_guards_of_the_site_apply_to_operators_routes_as_well_as_its_list(backend, start_site, deed, status):
    server = f"set $health_api_is_operator 1; {INCLUDE} {DEEDS[deed]} root DIR/www;"
    site = start_site(server=server)
    for path in OF_OPERATORS:
        answer = site.ask(path)
        assert answer.status == status and answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Health-Source"] == "nginx"


# /api/status and /api/metrics.


def test_only_listed_addresses_see_operators_routes(backend, start_site):
    site = start_site()
    assert_refuses_operators_routes(site)
    assert_shows_operators_routes(site, port=site.operators_port)
    for path in PUBLIC:
        assert site.ask(path, port=site.operators_port).status == 200
    elsewhere = site.ask("/index.html", port=site.operators_port)
    assert elsewhere.status == 404


def test_rewrites_of_the_site_do_not_affect_the_403(backend, start_site):
    """To answer it, nginx runs the rewrites of the server block again, for another path."""
    assert_refuses_operators_routes(start_site(server=f"{INCLUDE} root DIR/www; rewrite ^/(?!api/) /index.html last;"))


OWN_METRICS = f"{INCLUDE} location = /api/metrics {{ return 200 'of the site'; }}"


def test_nginx_refuses_a_second_location_for_the_metrics(start_site):
    with pytest.raises(AssertionError, match='duplicate location "/api/metrics"'):
        start_site(server=OWN_METRICS)


def test_a_site_keeps_its_own_metrics_where_our_location_is_moved_as_documented(backend, start_site):
    with open(os.path.join(ROOT, "nginx", "health-api.conf"), encoding="utf-8") as file:
        location = re.search(r"^location = /api/metrics \{\n.*?^\}\n", file.read(), re.M | re.S)[0]
    site = start_site([("health-api.conf", location, ""), ("conf.d/health-api-operators.conf", "    location / {\n",
                                                           f"{location}    location / {{\n")], server=OWN_METRICS)
    assert site.ask("/api/metrics").body == b"of the site"
    assert_shows_operators_routes(site, port=site.operators_port)
    assert hides(site, "/api/status")


@pytest.mark.parametrize("host, shown", [
    ("127.0.0.1:8078", True), ("localhost:9000", True), ("LOCALHOST", True), ("[::1]:8078", True),
    ("evil.example", False), ("evil.example:8078", False), ("127.0.0.1.evil.example", False), ("localhost.evil", False)])
def test_a_web_page_whose_name_resolves_to_loopback_cannot_read_operators_routes(backend, start_site, host, shown):
    """DNS rebinding in the browser of an operator who has the tunnel of docs/nginx.md open."""
    site = start_site()
    for path, secret in zip(OF_OPERATORS, SECRETS):
        answer = site.ask(path, port=site.operators_port, headers={"Host": host})
        assert (answer.status == 200) == shown and (secret in answer.body) == shown
        assert shown or answer.status == 421


def test_a_listed_address_sees_operators_routes(backend, start_site):
    listed = ("conf.d/health-api-http.conf", "    # 10.1.2.3 1;\n", "    127.0.0.1 1;\n")
    assert_shows_operators_routes(start_site([listed]))


def test_a_server_block_that_never_reaches_the_list_shows_nothing(backend, start_site):
    """A `break` of the site ends the server's rewrite directives before it reaches ours."""
    assert_refuses_operators_routes(start_site(server=f"break; {INCLUDE}"))


def test_a_busy_operators_port_passes_the_check_and_a_reload_keeps_the_old_configuration(backend, start_site, directory):
    """As docs/nginx.md says: nginx names the port in its error log, and the site goes on."""
    site = start_site()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        site.change("etc/conf.d/health-api-operators.conf", f"listen 127.0.0.1:{site.operators_port};", f"listen 127.0.0.1:{port};")
        assert site.check().returncode == 0
        site.process.send_signal(signal.SIGHUP)
        wait_until(lambda: f"bind() to 127.0.0.1:{port} failed" in site.error_log(), 10, "the port in the error log")
        wait_until(lambda: "still could not bind()" in site.error_log(), 10, "the end of the reload")
        assert_is_as_shipped(site.ask())
        assert_shows_operators_routes(site, port=site.operators_port)


def test_a_403_of_a_public_route_gives_no_reason(backend, start_site):
    """Operators may close these routes in health-api.public."""
    answer = start_site([("health-api.public", "allow all;\n", "deny all;\n")]).ask()
    assert answer.status == 403 and json.loads(answer.body)["detail"] == "The request was refused."


# Sizes of requests.


@pytest.mark.parametrize("path", ["/api/health", "/api/health/live", "/api/status", "/api/metrics"])
def test_a_request_line_of_more_than_8_KiB_is_414_where_the_site_allows_64(backend, start_site, path):
    site = start_site(http="large_client_header_buffers 4 64k;", server=f"set $health_api_is_operator 1; {INCLUDE}")
    assert site.ask(f"{path}?{'a' * 8000}").status == 200
    for data in (f"GET {path}?{'a' * 60000} HTTP/1.1", f"{'A' * 60000} {path} HTTP/1.1",
                 f"GET {'/' * 9000}{path} HTTP/1.1"):
        answer = site.send_raw(f"{data}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 414 ") and b"application/problem+json" in answer, answer[:200]


def test_the_strict_file_does_not_loop_with_recursive_error_pages(backend, start_site):
    site = start_site(server=f"recursive_error_pages on; {INCLUDE} include health-api-strict.conf; root DIR/www;")
    for path, words in (("/api/health", b"application/problem+json"), ("/elsewhere", b"<html>")):
        answer = site.send_raw(f"TRACE {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 405 ") and words in answer, answer


# HTTP/2, as docs/nginx.md describes it.


@pytest.fixture
def start_http2_site(backend, start_site):
    def start(http=""):
        return start_site(http=http, listen="listen 127.0.0.1:PORT http2;",
                          server=f"{INCLUDE} include health-api-strict.conf; root DIR/www;")
    return start


def test_over_http2_a_body_that_is_too_large_is_413_and_then_no_error(start_http2_site):
    """nginx responds before it has read the body, and ends the stream with NO_ERROR (RFC 9113, 8.1). If curl 7.88 is
    still sending, it shows that as a stream error."""
    site = start_http2_site()
    for size in (9000, 200000):
        ending = http2.ask(site.port, "/api/health", "POST", body=b"x" * size)
        assert (ending.status, ending.reset, ending.goaway) == (413, http2.NO_ERROR, None)
        assert json.loads(ending.body)["status"] == 413


def test_over_http2_a_request_line_of_more_than_8_KiB_is_414(start_http2_site):
    """This holds even if Huffman coding makes the line shorter, or the site allows longer lines."""
    site = start_http2_site("large_client_header_buffers 4 64k;")
    ending = http2.ask(site.port, "/api/health?" + "a" * 9000)
    assert (ending.status, json.loads(ending.body)["status"]) == (414, 414)
    assert http2.ask(site.port, "/api/health?" + "a" * 8000).status == 200


@pytest.mark.parametrize("path", ["/api/health", "/index.html"])
def test_over_http2_headers_that_are_too_large_end_the_connection_of_any_site(start_http2_site, path):
    """There is no request yet for which a location could send a 431."""
    site = start_http2_site()
    for headers in ([("x-long", "a" * 40000)], [(f"x-{number}", "a" * 7000) for number in range(5)]):
        ending = http2.ask(site.port, path, headers=headers)
        assert (ending.status, ending.goaway) == (None, http2.ENHANCE_YOUR_CALM)
    assert http2.ask(site.port, path, headers=[("x-long", "a" * 8000)]).status == 200


def test_the_documented_aliases_answer_as_the_routes_that_they_stand_for(start_site, start_backend):
    start_backend(PGHOST="/nowhere").wait_status("degraded")
    aliases = documented("<!-- tests run this block: aliases -->", "nginx", "load-balancers.md")
    site = start_site(server=f"{INCLUDE} {aliases}")
    for path, expected in (("/livez", (200, "alive")), ("/readyz", (200, "healthy")), ("/healthz", (503, "degraded")),
                           ("/livez?only=x", (200, "alive")), ("/readyz?only=database", (200, "healthy")),
                           ("/healthz?only=nothing", (503, "degraded")), ("/livez/", None), ("/readyzz", None)):
        answer = site.ask(path)
        assert expected is None and answer.headers.get("X-Health-Source") is None or \
            (answer.status, json.loads(answer.body)["status"]) == expected, path
