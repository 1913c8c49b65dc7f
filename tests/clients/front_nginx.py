"""An nginx in front of a site, with its own defaults, as people set it up."""
import os
import shutil

from harness.webserver import WebServer


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
