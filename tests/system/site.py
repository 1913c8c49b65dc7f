#!/usr/bin/python3
"""A web backend as in the incidents: site.py WHERE HANG. It never answers a request that comes while the file HANG exists.

WHERE is a port of 127.0.0.1, [::]:PORT for IPv6 only, or the path of a Unix socket. /slow takes 20 s; every other path
answers at once. If the port is taken it exits, as the real backend did."""
import http.server
import os
import socket
import socketserver
import sys
import time

WHERE, HANG = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(20)
        if os.path.exists(HANG):
            time.sleep(3600)  # without work, which would count as a want of processor time
        body = b"fine\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        socketserver.TCPServer.server_bind(self)  # that of http.server also looks up the host's name


if WHERE.startswith("/"):
    if os.path.exists(WHERE):
        os.unlink(WHERE)
    address, Server.address_family = WHERE, socket.AF_UNIX
elif WHERE.startswith("[::]:"):
    address, Server.address_family = ("::", int(WHERE[5:])), socket.AF_INET6
else:
    address = ("127.0.0.1", int(WHERE))
Server(address, Handler).serve_forever()
