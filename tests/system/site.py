#!/usr/bin/python3
"""A web backend as in the incidents: site.py PORT HANG. While the file HANG exists it accepts and answers nothing.

/slow takes 20 s, everything else answers at once. It ends when the port is taken, as the real one did."""
import http.server
import os
import sys
import time

HANG = sys.argv[2]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(20)
        while os.path.exists(HANG):
            time.sleep(0.1)
        body = b"fine\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
