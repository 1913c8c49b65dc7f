"""Real web servers in front of the program, and clients that send them requests."""
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess

from . import contract, process
from .cluster import ROOT
from .wait import wait_until

# Below the ports that the kernel gives to clients (ip_local_port_range).
_PORTS = range(10000, 32000)
_claims = []


def free_port():
    """A port that no process uses. No other test process gets it while this one lives, because it claims an abstract
    socket name for it."""
    while True:
        port = random.choice(_PORTS)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with socket.socket() as probe:
            try:
                claim.bind(f"\0health-api-test-port-{port}")
                probe.bind(("", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port


class _Connection(http.client.HTTPConnection):
    """Notes each answer when it is read."""

    def request(self, method, url, *args, **kwargs):
        self.asked = (url.split("?")[0], method)
        super().request(method, url, *args, **kwargs)

    def getresponse(self):
        response = super().getresponse()
        read = response.read

        def read_and_note():
            body = read()
            contract.notes.add(response.headers.get("X-Health-Source"), response.status, body, *self.asked,
                               response.headers.get("Content-Type"))
            return body
        response.read = read_and_note
        return response


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.header_lines = response.getheaders()
        self.headers = {name.title(): value for name, value in response.getheaders()}
        self.body = response.read()


class WebServer:
    """A server on a free port of 127.0.0.1 with its files in directory."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.process = None
        self.log_path = os.path.join(directory, "webserver.log")

    def _start(self, argv, **kwargs):
        self.process = process.start(argv, log=self.log_path, **kwargs)
        wait_until(self._accepts, 10, f"{argv[0]} accepts connections")

    def _accepts(self):
        if self.process.poll() is not None:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                raise AssertionError("the web server ended: " + log.read())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process:
            process.end(self.process, signal.SIGTERM)

    def connect(self, timeout_s=15.0, port=None):
        return _Connection("127.0.0.1", port or self.port, timeout=timeout_s)

    def ask(self, path="/api/health", method="GET", body=None, headers=None, port=None):
        connection = self.connect(port=port)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def send_raw(self, data):
        """Returns everything that the server answers to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), 15) as connection:
            connection.sendall(data)
            received = b""
            while True:
                try:
                    more = connection.recv(65536)
                except ConnectionResetError:
                    more = b""
                if not more:
                    contract.note_http(data, received)
                    return received
                received += more


class Nginx(WebServer):
    """The production snippets of nginx/, with their socket in directory."""

    def configure(self):
        subprocess.run([os.path.join(ROOT, "scripts/nginx-config.sh"), self.directory, str(self.port)], check=True)
        with open(os.path.join(self.directory, "nginx.conf"), "a", encoding="utf-8") as conf:
            conf.write("daemon off;\n")
        if os.geteuid() == 0:
            os.chmod(os.path.join(self.directory, "tmp"), 0o777)

    def argv(self, *more):
        return [shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-e",
                os.path.join(self.directory, "nginx-error.log"), "-c", os.path.join(self.directory, "nginx.conf"), *more]

    def change(self, name, old, new):
        """Replaces text in one of the files that configure() has written."""
        path = os.path.join(self.directory, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert text.count(old) == 1, f"{name} has changed: expected one {old!r}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    def start(self):
        self.configure()
        return self.start_configured()

    def start_configured(self):
        self._start(self.argv())
        return self


class Lighttpd(WebServer):
    """mod_cgi: it starts the program for each request."""

    def start(self, program, environment):
        config = os.path.join(self.directory, "lighttpd.conf")
        pairs = ", ".join(f'"{name}" => "{value}"' for name, value in environment.items())
        with open(config, "w", encoding="utf-8") as conf:
            conf.write(f"""
server.modules = ("mod_setenv", "mod_cgi")
server.document-root = "{self.directory}"
server.bind = "127.0.0.1"
server.port = {self.port}
setenv.set-environment = ({pairs})
$HTTP["url"] =~ "^/api/" {{ cgi.assign = ("" => "{program}") }}
alias.url = ()
""".replace("alias.url = ()\n", ""))
        for name in ("api", "api/status"):
            path = os.path.join(self.directory, name)
            if name == "api":
                os.makedirs(os.path.join(path, "health.d"), exist_ok=True)
        for name in ("health", "status"):
            open(os.path.join(self.directory, "api", name), "w", encoding="ascii").close()
        self._start([shutil.which("lighttpd", path=os.environ["PATH"] + ":/usr/sbin"), "-D", "-f", config])
        return self


class FcgiWrap(Nginx):
    """nginx in front of fcgiwrap, which starts the program for each request."""

    def start(self, program, environment):
        path = os.path.join(self.directory, "fcgiwrap.sock")
        self.wrapper = process.start([shutil.which("fcgiwrap", path=os.environ["PATH"] + ":/usr/sbin"), "-s",
                                      f"unix:{path}"], env=environment, log=self.log_path)
        wait_until(lambda: os.path.exists(path), 10, "fcgiwrap's socket")
        os.chmod(path, 0o777)
        temp = " ".join(f"{name}_temp_path {self.directory}/tmp;" for name in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        os.makedirs(os.path.join(self.directory, "tmp"), exist_ok=True)
        os.chmod(os.path.join(self.directory, "tmp"), 0o777)
        with open(os.path.join(self.directory, "nginx.conf"), "w", encoding="utf-8") as conf:
            conf.write(f"""
daemon off; pid {self.directory}/nginx.pid; events {{}}
http {{
  access_log off; {temp}
  server {{
    listen 127.0.0.1:{self.port};
    location /api/ {{
      fastcgi_pass unix:{path};
      fastcgi_param GATEWAY_INTERFACE CGI/1.1;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param SCRIPT_NAME $fastcgi_script_name;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param SCRIPT_FILENAME {program};
      fastcgi_param SERVER_PROTOCOL $server_protocol;
    }}
  }}
}}
""")
        self._start(self.argv())
        return self

    def stop(self):
        super().stop()
        process.end(self.wrapper)
