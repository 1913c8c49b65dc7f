"""What a session may find in place of a database: a proxy with faults, and servers that do not speak PostgreSQL.

Each listens on DIRECTORY/.s.PGSQL.5432, so PGHOST=DIRECTORY leads to it."""
import os
import select
import socket
import struct
import threading

AUTH_OK = b"R" + struct.pack(">II", 8, 0)
READY = b"Z" + struct.pack(">I", 5) + b"I"


def message(kind, content=b""):
    return kind + struct.pack(">I", len(content) + 4) + content


def parameter(name, value):
    return message(b"S", name + b"\0" + value + b"\0")


WELCOME = AUTH_OK + parameter(b"server_version", b"15.0") + parameter(b"client_encoding", b"UTF8") + READY


class Peer:
    """A listener. handle() serves each connection in a thread of its own."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.path = os.path.join(directory, ".s.PGSQL.5432")
        self.connections = 0
        self.closing = threading.Event()
        self._threads = []
        self._clients = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self._listener.listen(64)
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Closes all connections. Their clients notice at once, whatever the threads here wait for."""
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone already
        for thread in self._threads:
            thread.join(10)
        os.unlink(self.path)

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self.closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client.settimeout(20)
            self._clients.append(client)
            self._start(self._serve, client)

    def _serve(self, client):
        with client:
            try:
                self.handle(client)
            except OSError:
                pass

    def handle(self, client):
        raise NotImplementedError


SYNC = b"S" + struct.pack(">I", 4)


def receive_question(client):
    """Receives one question, up to the Sync that ends it."""
    asked = b""
    while not asked.endswith(SYNC):
        more = client.recv(65536)
        if not more:
            raise OSError("the client is gone")
        asked += more
    return asked


class Saying(Peer):
    """Answers the start-up packet with `hello`, and the next message with `answer` (without waiting for it if `waits` is
    false). After that it keeps sending `flood`, up to flood_bytes in all. Then it is silent until the client goes. If
    `answer` is a function of a question, it answers each question; with a flood, only those up to the first check."""

    def __init__(self, directory, hello=WELCOME, answer=b"", flood=b"", flood_bytes=64 << 20,
                 waits=True):
        self.waits = waits
        self.hello, self.answer, self.flood, self.flood_bytes = hello, answer, flood, flood_bytes
        super().__init__(directory)

    def handle(self, client):
        client.recv(8192)
        client.sendall(self.hello)
        while callable(self.answer):
            asked = receive_question(client)
            client.sendall(self.answer(asked))
            if self.flood and b"set_config" in asked:
                break
        if self.waits and not callable(self.answer):
            client.recv(8192)
            client.sendall(self.answer)
        chunk = self.flood * max(1, 65536 // max(1, len(self.flood)))
        sent = 0
        while self.flood and sent < self.flood_bytes and not self.closing.is_set():
            client.sendall(chunk)
            sent += len(chunk)
        while client.recv(65536):
            pass


class Proxy(Peer):
    """Passes data on to target (a directory with a PostgreSQL socket), unless mode says otherwise.

    pass: as described. hold: takes and keeps all data, both ways. drip: sends the client one byte each 200 ms. cut:
    closes with the first byte of each answer."""

    def __init__(self, directory, target):
        self.target = os.path.join(target, ".s.PGSQL.5432")
        self.mode = "pass"
        super().__init__(directory)

    def handle(self, client):
        if self.mode == "hold":
            self._hold(client)
            return
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.target)
            self._pump(client, server)

    def _hold(self, client):
        while self.mode == "hold" and not self.closing.wait(0.02):
            if select.select([client], [], [], 0)[0] and not client.recv(65536, socket.MSG_PEEK):
                return

    def _pump(self, client, server):
        while not self.closing.is_set():
            readable, _, _ = select.select([client, server], [], [], 0.02)
            if self.mode == "hold":
                self._hold(client)
                return
            for source in readable:
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    server.sendall(data)
                elif not self._to_client(client, data):
                    return

    def _to_client(self, client, data):
        if self.mode == "cut":
            client.sendall(data[:1])
            return False
        if self.mode == "drip":
            for byte in data:
                if self.closing.wait(0.2) or self.mode != "drip":
                    return False
                client.sendall(bytes([byte]))
            return True
        client.sendall(data)
        return True


class Resetting:
    """A port of 127.0.0.1 that leads to target (a directory with a PostgreSQL socket). Once a test has set `after`, that
    many bytes of each answer pass. Then a reset ends the client's connection, as a firewall would do it."""

    def __init__(self, target):
        self.target = os.path.join(target, ".s.PGSQL.5432")
        self.after = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._threads = []
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(self.target)
                self._pump(client, server)
            except OSError:
                pass

    def _pump(self, client, server):
        while not self._closing.is_set():
            for source in select.select([client, server], [], [], 0.02)[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    server.sendall(data)
                    continue
                client.sendall(data[:self.after])
                if self.after is not None:
                    # socket(7): with this option, close drops unsent data and sends a reset.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
