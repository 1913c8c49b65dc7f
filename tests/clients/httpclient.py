"""An HTTP/1.1 client that hides nothing: it shows all data, even after a HEAD, and whether the server closed."""
import select
import socket
from typing import NamedTuple

from harness import contract

TIMEOUT_S = 10.0


class Answer(NamedTuple):
    status: int
    headers: dict  # names in lower case
    body: bytes


def head_of(method, path, body_len=0, headers=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    if body_len:
        lines.append(f"Content-Length: {body_len}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    """A kept connection to a port of 127.0.0.1."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.is_closing = False  # the server has announced that

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        """A server that answers early may close before it has read the whole request. The response has come by then."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_closing = True

    def ask(self, method, path, body=b"", headers=()):
        self.send(head_of(method, path, len(body), headers) + body)
        return self.receive(method)

    def has_answer(self):
        """Whether the first bytes of a response, or the end of the connection, have come. Does not wait."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def receive(self, method="GET"):
        """Receives the next response. Raises EOFError if the server closes the connection instead."""
        line = self.file.readline()
        if not line:
            raise EOFError("closed without an answer")
        headers = {}
        status = int(line.split(None, 2)[1])
        while (line := self.file.readline().strip()):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        self.is_closing = self.is_closing or headers.get("connection", "").lower() == "close"
        answer = Answer(status, headers, self._body(method, headers))
        contract.notes.add(headers.get("x-health-source"), status, answer.body, None, method, headers.get("content-type"))
        return answer

    def _exactly(self, size):
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError(f"closed after {len(data)} of {size} bytes")
        return data

    def _body(self, method, headers):
        if method == "HEAD":
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while (size := int(self.file.readline().split(b";")[0], 16)) > 0:
                chunks.append(self._exactly(size))
                self.file.readline()
            self.file.readline()
            return b"".join(chunks)
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        self.is_closing = True
        return self.file.read()


def ask(port, method, path, body=b"", headers=()):
    """Sends one request on a connection of its own. The body has all data until the server closes."""
    with Connection(port) as connection:
        answer = connection.ask(method, path, body, [*headers, ("Connection", "close")])
        return answer._replace(body=answer.body + connection.file.read())
