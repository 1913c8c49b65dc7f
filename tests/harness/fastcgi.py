"""A FastCGI client that sends what a real web server would never send. FastCGI Specification 1.0."""
import socket
import struct

from . import contract

(BEGIN_REQUEST, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT,
 UNKNOWN_TYPE) = range(1, 12)
RESPONDER = 1
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)


def record(kind, content=b"", request_id=1, version=1, padding=0):
    return struct.pack(">BBHHBB", version, kind, request_id, len(content), padding, 0) + content + b"\0" * padding


def begin(request_id=1, role=RESPONDER, keep=True):
    return record(BEGIN_REQUEST, struct.pack(">HB5x", role, 1 if keep else 0), request_id)


def _length(n):
    return bytes([n]) if n < 128 else struct.pack(">I", n | 0x80000000)


def pairs(params):
    out = b""
    for name, value in params.items():
        name, value = name.encode(), value.encode("latin-1")
        out += _length(len(name)) + _length(len(value)) + name + value
    return out


def request(path="/api/health", method="GET", query="", keep=True, body=b"", request_id=1, **params):
    """The bytes of one whole request."""
    every = {"REQUEST_METHOD": method, "SCRIPT_NAME": path, "QUERY_STRING": query, **params}
    return (begin(request_id, keep=keep) + record(PARAMS, pairs(every), request_id)
            + record(PARAMS, b"", request_id) + (record(STDIN, body, request_id) if body else b"")
            + record(STDIN, b"", request_id))


class Response:
    """path, method: of the request, as far as they are known."""

    def __init__(self, stdout, path=None, method=None):
        head, _, self.body = stdout.partition(b"\r\n\r\n")
        self.headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
        self.status = int(self.headers["Status"].split()[0])
        contract.notes.add(self.headers.get("X-Health-Source", "nobody"), self.status, self.body, path, method,
                           self.headers.get("Content-Type"))


class Connection:
    """One connection to address: a path, or (host, port)."""

    def __init__(self, address, timeout_s=10.0):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise EOFError(f"closed by the peer after {len(data)} of {n} bytes")
            data += more
        return data

    def receive_record(self):
        """Receives the next record. Returns its type, request id and content."""
        _, kind, request_id, length, padding, _ = struct.unpack(">BBHHBB", self._exactly(8))
        return kind, request_id, self._exactly(length + padding)[:length]

    def receive(self, path=None, method=None):
        """Receives the response under way; path and method are those of its request, where the caller knows them. Raises
        EOFError if the peer closes the connection instead."""
        stdout = b""
        while True:
            kind, _, content = self.receive_record()
            if kind == STDOUT:
                stdout += content
            if kind == END_REQUEST:
                return Response(stdout, path, method)

    def ask(self, path="/api/health", **kwargs):
        self.send(request(path, **kwargs))
        return self.receive(None if kwargs.get("PATH_INFO") else path, kwargs.get("method", "GET"))

    def is_closed(self):
        """Whether the peer has closed. Does not wait."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(10.0)
