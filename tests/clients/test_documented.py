"""The lines of docs/web-servers.md, unchanged, in a configuration that has nothing else."""
import os
import re

import pytest
from harness.cluster import ROOT

from . import servers

SOCKET = "/run/health-api/health-api.sock"


def documented(language):
    with open(os.path.join(ROOT, "docs", "web-servers.md"), encoding="utf-8") as document:
        block, = re.findall(rf"```{language}\n(.*?)```", document.read(), re.S)
    assert block.count(SOCKET) == 1, f"docs/web-servers.md has changed: expected one {SOCKET} in {block}"
    return block


class Documented:
    """A web server with one site. around: its configuration, with LINES in place of the lines of the document."""

    around = ""

    def config(self):
        lines = documented(self.language).replace(SOCKET, self.sites["up"]).replace("bind :80", "bind 127.0.0.1:PORT")
        text = self.around.replace("LINES", lines.replace("\n", "\n" + self.indent))
        return text.replace("PORT", str(self.port)).replace("DIR", self.directory)

    indent = ""


class Apache(Documented, servers.Apache):
    language = "apache"

    def config(self):
        self.site = "<VirtualHost 127.0.0.1:{port}>\n" + documented("apache").replace(SOCKET, self.sites["up"]) + "</VirtualHost>\n"
        return servers.Apache.config(self)


class Lighttpd(Documented, servers.Lighttpd):
    language = "lighttpd"
    around = 'server.document-root = "DIR"\nserver.bind = "127.0.0.1"\nserver.port = PORT\nLINES'


class Caddy(Documented, servers.Caddy):
    language = "caddy"
    around = "{\n    admin off\n    auto_https off\n}\nhttp://127.0.0.1:PORT {\nLINES\n}\n"


class HAProxy(Documented, servers.HAProxy):
    language = "haproxy"
    around = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\nLINES"


class H2o(Documented, servers.H2o):
    language = "yaml"
    around = 'hosts:\n  "127.0.0.1:PORT":\n    listen: {host: 127.0.0.1, port: PORT}\n    LINES'
    indent = "    "


@pytest.mark.parametrize("kind", [Apache, Lighttpd, Caddy, HAProxy, H2o])
def test_the_documented_lines_answer_the_public_routes_and_do_not_show_the_status(programs, directory, kind):
    server = kind(directory, {"up": programs.service("up", "unix").address})
    os.chmod(directory, 0o755)
    try:
        server.start()
        for path in ("/api/health", "/api/health/live", "/api/health?x=1"):
            answer = server.ask_site("up", "GET", path)
            assert (answer.status, answer.headers.get("x-health-source")) == (200, "backend"), (path, answer)
        for path in ("/api/status", "/api/health/../status", "/api/healthz", "/api/health-records", "/"):
            answer = server.ask_site("up", "GET", path)
            assert answer.headers.get("x-health-source") is None and b'"config"' not in answer.body, (path, answer)
    finally:
        server.stop()
