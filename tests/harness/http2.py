"""Sends one request over HTTP/2 without TLS, frame by frame (RFC 9113). It shows what a client library would hide."""
import socket
import struct

from . import contract

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, CONTINUATION = 1, 4, 9
NO_ERROR, ENHANCE_YOUR_CALM = 0, 11
FRAME_MAX = 16384


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, bits):
    """An integer of HPACK (RFC 7541, 5.1); the bits before its prefix are 0."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([value])
    value -= limit
    text = bytes([limit])
    while value >= 128:
        text += bytes([value % 128 + 128])
        value //= 128
    return text + bytes([value])


def literal(name, value):
    """A header without Huffman coding that no table remembers."""
    return b"\0" + integer(len(name), 7) + name.encode() + integer(len(value), 7) + value.encode()


class Ending:
    """How the first stream ended: status, body, RST_STREAM code and GOAWAY code. Each is None if it did not come."""

    def __init__(self):
        self.status = self.reset = self.goaway = None
        self.body = b""


def ask(port, path, method="GET", headers=(), body=None):
    """Announces the whole body, and sends as much of it as the server's first window takes."""
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost"), *headers]
    if body:
        fields.append(("content-length", str(len(body))))
    block = b"".join(literal(*field) for field in fields)
    parts = [block[at:at + FRAME_MAX] for at in range(0, len(block), FRAME_MAX)]
    ends = 0 if body else END_STREAM
    request = PREFACE + frame(SETTINGS, 0, 0)
    for number, part in enumerate(parts):
        last = END_HEADERS if part is parts[-1] else 0
        request += frame(CONTINUATION if number else HEADERS, last | (0 if number else ends), 1, part)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request + (frame(DATA, 0, 1, body[:FRAME_MAX]) if body else b""))
        ending = read_ending(connection.makefile("rb"), bool(body))
        contract.notes.add(None, ending.status, ending.body, path.split("?")[0], method)
        return ending


def read_ending(stream, expects_reset):
    """Reads until the stream or the connection is over."""
    ending = Ending()
    while True:
        head = stream.read(9)
        if len(head) < 9:
            return ending
        payload = stream.read(int.from_bytes(head[:3], "big"))
        kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == GOAWAY:
            ending.goaway = int.from_bytes(payload[4:8], "big")
        if number != 1:
            continue
        if kind == HEADERS:
            ending.status = status_of(payload)
        if kind == DATA:
            ending.body += payload
        if kind == RST_STREAM:
            ending.reset = int.from_bytes(payload[:4], "big")
        if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM and not expects_reset):
            return ending


def status_of(block):
    """Decodes the first field of nginx's response: entry 8 of the static table is :status 200, else three digits follow."""
    while block[0] >> 5 == 1:  # sets a new size of the dynamic table
        block = block[1:]
    return 200 if block[0] == 0x88 else int(block[2:5])
