"""An nginx with somebody else's site. The shipped files are copied into it as docs/nginx.md says."""
import os
import re
import shlex
import shutil
import subprocess

from .cluster import ROOT
from .webserver import Nginx, free_port

INSTALLED = "/usr/local/share/health-api/nginx"
PAGE = "a page of the site"


def documented(mark, language="sh", name="nginx.md"):
    """The one block of a file in docs/ after this line, for root."""
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
        blocks = re.findall(rf"^{re.escape(mark)}\n```{language}\n(.*?)```", file.read(), re.S | re.M)
    assert len(blocks) == 1, f"docs/{name} has {len(blocks)} blocks after '{mark}', expected one"
    return blocks[0].replace("sudo ", "")


def copy_commands():
    """Those that copy the files."""
    return documented("<!-- tests run this block: copy -->")


class Site(Nginx):
    """http and server are the texts that the site has in http { } and in its server { }; others has more server blocks.
    In each text PORT, OTHER_PORT and DIR stand for the values of this site. The text of server decides where
    health-api.conf is included."""

    def __init__(self, directory):
        super().__init__(directory)
        self.operators_port = free_port()
        self.other_port = free_port()
        self.etc = os.path.join(directory, "etc")

    def configure(self, http="", server="include health-api.conf;", listen="listen 127.0.0.1:PORT;", others=""):
        os.makedirs(f"{self.etc}/conf.d")
        os.makedirs(f"{self.directory}/www")
        os.makedirs(f"{self.directory}/tmp")
        os.chmod(f"{self.directory}/tmp", 0o777)
        for name in ("index.html", "index.php", "50x.html"):
            with open(f"{self.directory}/www/{name}", "w", encoding="ascii") as page:
                page.write(PAGE)
        for name in ("fastcgi.conf", "fastcgi_params"):  # Debian's own snippets include these
            shutil.copy(f"/etc/nginx/{name}", self.etc)
        commands = copy_commands().replace(INSTALLED, shlex.quote(f"{ROOT}/nginx")).replace("/etc/nginx", self.etc)
        subprocess.run(["sh", "-euc", commands], check=True)
        for place, _, names in os.walk(self.etc):
            for name in filter(re.compile("^health-api").match, names):
                self._move(os.path.join(place, name))
        text = f"""
pid DIR/nginx.pid; daemon off; worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path DIR/tmp; proxy_temp_path DIR/tmp; fastcgi_temp_path DIR/tmp;
    uwsgi_temp_path DIR/tmp; scgi_temp_path DIR/tmp;
    include /etc/nginx/mime.types;
    {http}
    include conf.d/*.conf;
    server {{
        {listen}
        {server}
    }}
    {others}
}}
"""
        for word, value in (("OTHER_PORT", self.other_port), ("PORT", self.port), ("DIR", self.directory)):
            text = re.sub(rf"\b{word}\b", str(value), text)
        with open(f"{self.etc}/nginx.conf", "w", encoding="utf-8") as conf:
            conf.write(text)

    def _move(self, path):
        """Moves the paths and ports of the machine that a shipped file names into this directory."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for old, new in (("unix:/run/health-api/", f"unix:{self.directory}/"), ("/var/log/nginx/", f"{self.directory}/"),
                         ("listen 127.0.0.1:8078;", f"listen 127.0.0.1:{self.operators_port};")):
            text = text.replace(old, new)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def argv(self, *more):
        return [shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-e", f"{self.directory}/nginx-error.log",
                "-c", f"{self.etc}/nginx.conf", *more]

    def check(self):
        """Runs nginx -t. Returns the finished process, with its texts."""
        return subprocess.run(self.argv("-t", "-q"), capture_output=True, text=True, timeout=30, check=False)

    def error_log(self):
        with open(f"{self.directory}/nginx-error.log", encoding="utf-8") as log:
            return log.read()
