"""Sites with a real nginx in front of them: its rate limit, and its document for a dead backend."""
import os
import shutil
import socket

import pytest

from harness import watchdog as w
from harness.webserver import Nginx, WebServer, free_port

LIMITED = """
daemon off; pid {dir}/nginx.pid; events {{}}
http {{
  access_log off; {temp}
  limit_req_zone $binary_remote_addr zone=z:1m rate=2r/s;
  server {{
    listen 127.0.0.1:{port};
    limit_req zone=z burst=3 nodelay; limit_req_status 429;
    location / {{ proxy_pass http://127.0.0.1:{backend}; proxy_read_timeout 300ms; proxy_connect_timeout 300ms; }}
    location /unlimited/ {{ limit_req zone=z burst=1000 nodelay; proxy_pass http://127.0.0.1:{backend};
                            proxy_read_timeout 300ms; }}
  }}
}}
"""


class Proxy(WebServer):
    def start(self, backend):
        temp = " ".join(f"{name}_temp_path {self.directory}/tmp;" for name in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        os.makedirs(f"{self.directory}/tmp", exist_ok=True)
        os.chmod(f"{self.directory}/tmp", 0o777)
        with open(f"{self.directory}/proxy.conf", "w", encoding="utf-8") as conf:
            conf.write(LIMITED.format(dir=self.directory, temp=temp, port=self.port, backend=backend))
        self._start([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-e",
                     f"{self.directory}/nginx-error.log", "-c", f"{self.directory}/proxy.conf"])
        return self


@pytest.fixture
def start_proxy(directory):
    servers = []

    def start(backend):
        servers.append(Proxy(directory).start(backend))
        return f"http://127.0.0.1:{servers[-1].port}"
    yield start
    for server in servers:
        server.stop()


def test_429_for_most_of_130_rapid_requests_is_no_failure(dog, site, systemctl, start_proxy):
    url = start_proxy(site.port)
    dog.write(url, "core /unlimited/live", *[f"aux /{n}" for n in range(129)], unit="site", concurrency="16")
    done = dog.run()
    assert done.code == 0, done
    counts = [int(part.split()[0]) for part in done.summary.split(", ")]
    assert counts[0] + counts[2] == 130 and counts[2] > 100, done.summary
    assert systemctl.orders() == []


def test_429_on_a_liveness_route_is_a_warning_and_no_reason_to_kill(dog, site, systemctl, start_proxy):
    """A 429 does not show whether the backend lives."""
    url = start_proxy(site.port)
    dog.write(url, *[f"core /{n}" for n in range(30)], unit="site")
    done = dog.run()
    assert done.code == 1 and "429, rate-limited" in done.lines[0], done
    dog.write(url, "core /unlimited/live liveness", *[f"core /{n}" for n in range(30)], unit="site")
    assert dog.run().code == 0
    assert systemctl.orders() == []


def test_health_api_itself_healthy_and_degraded(dog, nginx, start_backend, systemctl):
    """The second health-api cannot reach its database."""
    backend = start_backend()
    backend.wait_status("healthy")
    dog.write(f"http://127.0.0.1:{nginx.port}", "core /api/health/live liveness", "core /api/health json status=healthy",
              "aux /api/status", unit="health-api")
    done = dog.run()
    assert (done.code, done.summary) == (0, "3 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error"), done
    backend.stop()
    degraded = start_backend(PGPORT=str(free_port()))
    degraded.wait_status("degraded")
    done = dog.run()
    assert done.code == 2
    assert "core /api/health: 503, not an accepted code (1 try" in done.out
    assert systemctl.orders() == []
    assert isinstance(nginx, Nginx)


@pytest.mark.parametrize("liveness", ["/api/health/live", "/api/health"])
def test_health_api_drained_by_hand_is_reported_and_left_alone(dog, nginx, directory, backend, systemctl, liveness):
    """Somebody works on that node. A restart would help nobody, and disturb him."""
    others = {"/api/health/live", "/api/health"} - {liveness}
    dog.write(f"http://127.0.0.1:{nginx.port}", f"core {liveness} liveness", *[f"core {path}" for path in others],
              unit="health-api", listener=f"unix:{backend.socket}", listener_protocol="fastcgi")
    with open(f"{directory}/drain", "w", encoding="ascii"):
        backend.wait_status("draining")
    done = dog.run()
    assert done.code == 2
    assert done.lines[0].startswith("core /api/health: 503, not an accepted code (1 try"), done
    assert done.summary == "1 OK, 0 timeout/unreachable, 0 rate-limited, 1 HTTP error"
    assert systemctl.orders() == []
