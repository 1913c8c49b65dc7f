"""Proxies as people set them up in front of a site, each with its own defaults: HAProxy, and another nginx."""
import os
import re
import shutil

from harness.cluster import ROOT
from harness.webserver import WebServer


def haproxy_snippet():
    """The one of docs/load-balancers.md."""
    with open(os.path.join(ROOT, "docs", "load-balancers.md"), encoding="utf-8") as file:
        return re.search(r"```haproxy\n(.*?)```", file.read(), re.S)[1]


class HAProxy(WebServer):
    def start(self, site_port, forwardfor):
        text = haproxy_snippet()
        assert text.count("10.0.0.11:80 ") == 1
        text = text.replace("10.0.0.11:80 ", f"127.0.0.1:{site_port} ")
        path = os.path.join(self.directory, "haproxy.cfg")
        with open(path, "w", encoding="utf-8") as conf:
            conf.write(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    {"option forwardfor" if forwardfor else ""}
frontend visitors
    bind 127.0.0.1:{self.port}
    default_backend app
{text}""")
        self._start([shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"), "-db", "-f", path])
        return self


class FrontNginx(WebServer):
    def start(self, site_port, forwardfor):
        temp = " ".join(f"{name}_temp_path {self.directory}/tmp;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        os.makedirs(f"{self.directory}/tmp")
        os.chmod(f"{self.directory}/tmp", 0o777)
        path = os.path.join(self.directory, "nginx.conf")
        header = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;" if forwardfor else ""
        with open(path, "w", encoding="utf-8") as conf:
            conf.write(f"""
pid {self.directory}/nginx.pid; daemon off; events {{}}
http {{
    access_log off; {temp}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{ {header} proxy_pass http://127.0.0.1:{site_port}; }}
    }}
}}
""")
        self._start([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-e", f"{self.directory}/error.log", "-c", path])
        return self
