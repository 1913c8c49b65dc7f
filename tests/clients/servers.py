"""The web servers and clients of other projects through which the tests reach health-api, configured as their users would.

Each has the sites `up`, `down` and `restarted`, with a port each. They differ in the program that they lead to: at the
address of its FastCGI socket, or with the environment of its CGI program."""
import csv
import os
import shutil
import socket
import subprocess

from harness import process
from harness.backend import environment
from harness.cluster import ROOT
from harness.wait import wait_until
from harness.webserver import WebServer, free_port

from . import httpclient

SBIN = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
MODULES = "/usr/lib/apache2/modules"


def find(command):
    path = shutil.which(command, path=SBIN)
    assert path, f"{command} is not installed: make clients installs it"
    return path


class Front(WebServer):
    """A web server with a port for each site."""

    def __init__(self, directory, sites, program=None):
        super().__init__(directory)
        self.sites = sites
        self.program = program
        self.ports = {name: free_port() for name in sites}
        self.port = self.ports["up"]

    def start(self):
        path = os.path.join(self.directory, "front.conf")
        with open(path, "w", encoding="utf-8") as conf:
            conf.write(self.config())
        self._start(self.argv(path), env=environment(HOME=self.directory))
        for self.port in self.ports.values():  # waits for one port after the other
            wait_until(self._accepts, 10, f"{path}: the port of each site")
        return self

    def each_site(self, text):
        """Returns text once for each site, filled in by address_of."""
        return "".join(text.format(name=name, port=self.ports[name], **self.address_of(site))
                       for name, site in self.sites.items())

    @staticmethod
    def address_of(site):
        return {"address": site if isinstance(site, str) else "%s:%d" % site}

    def ask_site(self, site, method, path, body=b"", headers=()):
        return httpclient.ask(self.ports[site], method, path, body, headers)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def config(self):
        raise NotImplementedError

    def argv(self, path):
        raise NotImplementedError


class Apache(Front):
    """Apache httpd with one process, so that all clients share its connections."""

    mpm = "event"
    modules = ("proxy", "proxy_fcgi")
    limits = "StartServers 1\nServerLimit 1\nThreadsPerChild 16\nMaxRequestWorkers 16\n"

    def config(self):
        names = (f"mpm_{self.mpm}", "authz_core", *self.modules)
        return "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in names) + f"""
ServerRoot {self.directory}
DefaultRuntimeDir {self.directory}
PidFile {self.directory}/apache.pid
ErrorLog {self.log_path}
ServerName localhost
User www-data
Group www-data
{self.limits}
KeepAliveTimeout 30
MaxKeepAliveRequests 0
LimitRequestLine 65536
<Directory />
    Require all granted
</Directory>
{self.each_site("Listen 127.0.0.1:{port}" + chr(10))}
{self.each_site(self.site)}
"""

    site = """
<VirtualHost 127.0.0.1:{port}>
    LimitRequestLine 65536
    ProxyPass "/api/" "{scheme}/api/" {reuse}
</VirtualHost>
"""

    @staticmethod
    def address_of(site):
        """Returns both forms of the options."""
        if isinstance(site, str):
            return {"scheme": f"unix:{site}|fcgi://{os.path.basename(site)}", "reuse": "enablereuse=on"}
        return {"scheme": "fcgi://%s:%d" % site, "reuse": "disablereuse=off"}

    def argv(self, path):
        return [find("apache2"), "-D", "FOREGROUND", "-d", self.directory, "-f", path]


class ApacheCgid(Apache):
    modules = ("cgid", "alias", "env")
    more = "ScriptSock {directory}/cgid.sock\n"
    site = """
<VirtualHost 127.0.0.1:{port}>
    LimitRequestLine 65536
    {variables}
    ScriptAlias /api {program}
</VirtualHost>
"""

    def config(self):
        return super().config() + self.more.format(directory=self.directory)

    def address_of(self, site):
        return {"program": self.program, "variables": "\n    ".join(f'SetEnv {k} "{v}"' for k, v in site.items())}


class ApacheCgi(ApacheCgid):
    mpm = "prefork"
    modules = ("cgi", "alias", "env")
    limits = "StartServers 2\nMaxRequestWorkers 8\n"
    more = ""


class Lighttpd(Front):
    modules = '"mod_fastcgi"'
    site = """
$SERVER["socket"] == "127.0.0.1:{port}" {{
    fastcgi.server = ("/api/" => (("socket" => "{address}", "check-local" => "disable")))
}}
"""

    def config(self):
        return f"""
server.modules = ({self.modules})
server.document-root = "{self.directory}"
server.bind = "127.0.0.1"
server.port = {free_port()}
server.max-request-field-size = 65535
server.max-keep-alive-requests = 100000
{self.each_site(self.site)}
"""

    def argv(self, path):
        return [find("lighttpd"), "-D", "-f", path]


class LighttpdCgi(Lighttpd):
    modules = '"mod_setenv", "mod_cgi"'
    site = """
$SERVER["socket"] == "127.0.0.1:{port}" {{
    setenv.set-environment = ({variables})
    $HTTP["url"] =~ "^/api/" {{ cgi.assign = ("" => "{program}") }}
}}
"""

    def start(self):
        """lighttpd wants a file for each script; the rest of the path is PATH_INFO."""
        os.makedirs(os.path.join(self.directory, "api"))
        for name in ("health", "status", "metrics"):
            open(os.path.join(self.directory, "api", name), "w", encoding="ascii").close()
        return super().start()

    def address_of(self, site):
        return {"program": self.program, "variables": ", ".join(f'"{k}" => "{v}"' for k, v in site.items())}


class Caddy(Front):
    """php_fastcgi does not help: it passes on only paths that end in .php, and Caddy answers every other path with an
    empty 200 of its own (observed). The transport below it takes each path as it is."""

    def config(self):
        sites = self.each_site("""
http://127.0.0.1:{port} {{
    reverse_proxy unix/{address} {{
        transport fastcgi
    }}
}}
""")
        return f"{{\n    admin off\n    auto_https off\n}}\n{sites}"

    def argv(self, path):
        return [find("caddy"), "run", "--adapter", "caddyfile", "--config", path]


class HAProxy(Front):
    """HAProxy with one thread, so that all clients share its connections. Its buffer takes all headers of a request. With
    headers of more than 64 KiB, HAProxy 2.6 writes STDIN records whose length does not fit into its two bytes (observed:
    15187 for 80723), and every FastCGI program must close the connection."""

    get_values = "no option get-values"

    def config(self):
        return f"""
global
    nbthread 1
    tune.bufsize 65536
    log stderr local0 info
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
fcgi-app health
    docroot /
    option keep-conn
    {self.get_values}
""" + self.each_site("""
frontend {name}
    bind 127.0.0.1:{port}
    default_backend {name}
backend {name}
    use-fcgi-app health
    http-reuse always
    server program {address} proto fcgi
""")

    def argv(self, path):
        return [find("haproxy"), "-db", "-f", path]


class HAProxyGetValues(HAProxy):
    """HAProxy that sends FCGI_GET_VALUES first on each connection."""

    get_values = "option get-values"


class HAProxyChecker(WebServer):
    """The backend of docs/load-balancers.md in front of web servers, named app1, app2 and so on. It checks this route, ten
    times as often."""

    def start(self, *checked_ports, route="/api/health?only=process", options=""):
        self.socket_path = os.path.join(self.directory, "stats.sock")
        with open(os.path.join(ROOT, "docs", "load-balancers.md"), encoding="utf-8") as document:
            backend = document.read().split("```haproxy\n")[1].split("```")[0]
        servers = [f"    server app{number} 127.0.0.1:{port} check" for number, port in enumerate(checked_ports, 1)]
        for old, new in (("    server app1 10.0.0.11:80 check", "\n".join(servers)), ("inter 2s", "inter 200ms"),
                         ("GET /api/health?only=process", f"GET {route}")):
            assert backend.count(old) == 1, f"docs/load-balancers.md has changed: expected one {old!r}"
            backend = backend.replace(old, new)
        path = os.path.join(self.directory, "haproxy.conf")
        with open(path, "w", encoding="utf-8") as conf:
            conf.write(f"""
global
    stats socket {self.socket_path}
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    {options}
frontend site
    bind 127.0.0.1:{self.port}
    default_backend app
{backend}""")
        self._start([find("haproxy"), "-db", "-f", path])
        wait_until(lambda: os.path.exists(self.socket_path), 10, "HAProxy's own socket, which comes after the ports")
        return self

    def server(self, name="app1"):
        """The row of a checked server in `show stat`. `* ` before the last status means that a check is under way."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket_path)
            client.sendall(b"show stat\n")
            text = client.makefile(encoding="ascii").read()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        row = next(row for row in rows if (row["pxname"], row["svname"]) == ("app", name))
        return {**row, "check_status": row["check_status"].removeprefix("* ")}


class H2o(Front):
    def config(self):
        return """
num-threads: 1
fastcgi.timeout.keepalive: 30000
hosts:
""" + self.each_site("""
  "127.0.0.1:{port}":
    listen: {{host: 127.0.0.1, port: {port}}}
    paths:
      "/":
        fastcgi.connect: {{port: {address}, type: unix}}
""")

    def argv(self, path):
        return [find("h2o"), "-m", "worker", "-c", path]


class PlainNginx(Front):
    """nginx without the shipped snippets: it passes the body on as it comes."""

    def config(self):
        temp = " ".join(f"{name}_temp_path {self.directory}/tmp;" for name in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"""
daemon off; pid {self.directory}/nginx.pid; error_log {self.directory}/nginx-error.log; worker_processes 1;
events {{}}
http {{
    access_log off; {temp}
    keepalive_requests 100000;
    large_client_header_buffers 8 64k;
    fastcgi_request_buffering off;
    fastcgi_keep_conn on;
    include /etc/nginx/fastcgi_params;
""" + self.each_site("""
    upstream {name} {{ server unix:{address} max_fails=0; keepalive 16; }}
    server {{ listen 127.0.0.1:{port}; location / {{ fastcgi_pass {name}; }} }}
""") + "}\n"

    def start(self):
        os.makedirs(os.path.join(self.directory, "tmp"))
        os.chmod(os.path.join(self.directory, "tmp"), 0o777)
        return super().start()

    def argv(self, path):
        return [find("nginx"), "-e", f"{self.directory}/nginx-error.log", "-c", path]


class CgiFcgi:
    """cgi-fcgi of libfcgi, a CGI program that passes its request on to a FastCGI socket. When the connection breaks, it
    prints no response, and its exit code is the errno. The tests take that as status 0."""

    def __init__(self, directory, sites, program=None):
        self.directory = directory
        self.sites = sites

    def start(self):
        return self

    def stop(self):
        pass

    def ask_site(self, site, method, path, body=b"", headers=()):
        path, _, query = path.partition("?")
        variables = {"GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": method,
                     "SCRIPT_NAME": path, "QUERY_STRING": query,
                     **({"CONTENT_LENGTH": len(body)} if body else {}),
                     **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers}}
        done = subprocess.run([find("cgi-fcgi"), "-bind", "-connect", self.sites[site]], env=environment(**variables),
                              input=body, capture_output=True, timeout=30, check=False)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
        return httpclient.Answer(int(lines.get("Status", "0").split()[0]),
                           {name.lower(): value for name, value in lines.items()}, rest)


class SpawnFcgi:
    """spawn-fcgi: it creates the socket at path, and starts the program with the socket as fd 0."""

    def __init__(self, directory, path, program, settings):
        self.address = path
        self.process = process.start([find("spawn-fcgi"), "-n", "-s", path, "-M", "0666", "--", program],
                                     env=environment(**settings), log=os.path.join(directory, "spawn-fcgi.log"))
        wait_until(lambda: os.path.exists(path), 10, "spawn-fcgi's socket")

    def stop(self):
        assert process.end(self.process) == 0


FASTCGI = {"apache-unix": Apache, "apache-tcp": Apache, "lighttpd": Lighttpd, "caddy": Caddy,
           "haproxy": HAProxy, "haproxy-get-values": HAProxyGetValues, "h2o": H2o, "nginx": PlainNginx}
CGI = {"apache-cgi": ApacheCgi, "apache-cgid": ApacheCgid, "lighttpd-cgi": LighttpdCgi}
HTTP = {**FASTCGI, **CGI}
ALL = {**HTTP, "cgi-fcgi": CgiFcgi}
