"""Prometheus and promtool, with the shipped scrape job and rules."""
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from harness import process
from harness.backend import environment
from harness.cluster import ROOT
from harness.wait import wait_until
from harness.webserver import WebServer

from .servers import find

SHIPPED = os.path.join(ROOT, "deploy", "prometheus")
EVERY = "400ms"
# Not with the client of the harness, which would judge these answers as the program's.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def promtool(*arguments, text=None):
    """Runs promtool to its end. Returns the finished process with its texts."""
    return subprocess.run([find("promtool"), *arguments], input=text, text=True, capture_output=True, timeout=60,
                          check=False)


class Prometheus(WebServer):
    """A Prometheus that scrapes target as the shipped job says, but more often. Its data is in directory."""

    def start(self, target):
        with open(os.path.join(SHIPPED, "prometheus.yml"), encoding="utf-8") as file:
            config = file.read()
        for old, new in (("127.0.0.1:8078", target), ("scrape_interval: 15s", f"scrape_interval: {EVERY}"),
                         ("scrape_timeout: 5s", f"scrape_timeout: {EVERY}")):
            assert config.count(old) == 1, f"prometheus.yml has changed: expected one {old!r}"
            config = config.replace(old, new)
        path = os.path.join(self.directory, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"global: {{evaluation_interval: {EVERY}}}\n{config}")
        shutil.copy(os.path.join(SHIPPED, "health-api-rules.yml"), self.directory)
        self._start([find("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={self.directory}/data",
                     f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"],
                    env=environment(HOME=self.directory))
        wait_until(self.is_ready, 20, "Prometheus has read its data")
        return self

    def stop(self):
        """At once: nobody needs its data."""
        process.end(self.process, signal.SIGKILL)

    def is_ready(self):
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.port}/-/ready", timeout=10):
                return True
        except urllib.error.HTTPError:
            return False

    def query(self, promql):
        """The result of an instant query: {values of the labels in the order of their names: value}, without the labels
        instance and job."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": promql})
        with DIRECT.open(url, timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return {tuple(value for name, value in sorted(sample["metric"].items())
                      if name not in ("__name__", "instance", "job")): float(sample["value"][1])
                for sample in document["data"]["result"]}
