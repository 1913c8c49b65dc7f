"""The tests' own name server. glibc asks port 53 of the server that /etc/resolv.conf names. So the program under test
runs in a mount namespace with a different file there. Needs root."""
import errno
import os
import random
import socket
import struct
import threading

ANSWER, TYPE_A, CLASS_IN, TTL_S = 0x8180, 1, 1, 0
FILES = {"resolv.conf": "nameserver {ip}\noptions timeout:5 attempts:2\n", "nsswitch.conf": "hosts: dns\n"}


def bind_to_free_address():
    """Returns an address of this host, and a socket at its port 53. Several name servers may run at once."""
    while True:
        ip = f"127.53.{random.randrange(256)}.{random.randrange(1, 255)}"
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listener.bind((ip, 53))
            return ip, listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise


class NameServer:
    """Answers each question for an IPv4 address with `addresses`, after `delay_s`. Gives no answer while it is dead."""

    def __init__(self, directory, addresses):
        ip, self._socket = bind_to_free_address()
        self.directory, self.addresses, self.delay_s, self.dead, self.questions = directory, addresses, 0, False, 0
        for name, text in FILES.items():
            with open(os.path.join(directory, name), "w", encoding="ascii") as file:
                file.write(text.format(ip=ip))
        self._closing = threading.Event()
        self._socket.settimeout(0.1)
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closing.set()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def wrapper(self):
        """The command that becomes the program and makes it use this name server."""
        mounts = " && ".join(f"mount --bind '{os.path.join(self.directory, name)}' /etc/{name}" for name in FILES)
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounts + ' && exec "$@"', "sh"]

    def _serve(self):
        while not self._closing.is_set():
            try:
                question, client = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self.questions += 1
            if not self.dead:
                self._threads.append(threading.Thread(target=self._answer, args=(question, client)))
                self._threads[-1].start()

    def _answer(self, question, client):
        self._closing.wait(self.delay_s)
        number, _, _, _, _, _ = struct.unpack_from(">6H", question)
        end = question.index(b"\0", 12) + 1
        kind, _ = struct.unpack_from(">2H", question, end)
        addresses = self.addresses if kind == TYPE_A else []
        records = b"".join(struct.pack(">3HIH", 0xC00C, TYPE_A, CLASS_IN, TTL_S, 4) + socket.inet_aton(address)
                           for address in addresses)
        header = struct.pack(">6H", number, ANSWER, 1, len(addresses), 0, 0)
        self._socket.sendto(header + question[12:end + 4] + records, client)
