"""`health-api --ask`: what it sends, what it prints, and what it says and exits with when nobody answers."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from harness import backend as program
from harness import fastcgi, process
from harness.cluster import ROOT
from harness.peers import Peer
from harness.wait import wait_until
from harness.webserver import Nginx, free_port

from .test_cli import BAD

LIMIT_S = 2
# A sanitizer starts slowly, and so does any program on a busy machine.
START_S = 3
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Asked:
    def __init__(self, *arguments, **settings):
        began = time.monotonic()
        done = program.run("--ask", *arguments, **settings)
        self.took_s = time.monotonic() - began
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def expect_failure(self, code, *words, address=None):
        """Nothing on stdout, and one line on stderr with these words."""
        assert (self.code, self.out) == (code, ""), self.err
        assert len(self.err.splitlines()) == 1 and self.err.endswith("\n"), self.err
        assert self.err.startswith(f"health-api: {address}: " if address else "health-api: "), self.err
        for word in words:
            assert word in self.err, self.err


class Script(Peer):
    """Receives a whole request and follows the script with (self, client); the connection ends with it."""

    def __init__(self, directory, script):
        self.script, self.received = script, []
        super().__init__(directory)

    @property
    def listen(self):
        return f"unix:{self.path}"

    def handle(self, client):
        request = b""
        while not request.endswith(fastcgi.record(fastcgi.STDIN)):
            more = client.recv(65536)
            if not more:
                return
            request += more
        self.received.append(request)
        self.script(self, client)


def answer(output, end=True):
    return fastcgi.record(fastcgi.STDOUT, output) + (fastcgi.record(fastcgi.END_REQUEST, b"\0" * 8) if end else b"")


def sends(data):
    return lambda peer, client: client.sendall(data)


def is_silent(data=b""):
    """Sends data and is silent until the client goes."""
    def script(peer, client):
        client.sendall(data)
        client.recv(1)
    return script


def drips(data):
    def script(peer, client):
        for byte in data:
            client.sendall(bytes([byte]))
            if peer.closing.wait(0.1):
                return
    return script


def floods(data):
    def script(peer, client):
        while not peer.closing.is_set():
            client.sendall(data)
    return script


OK = answer(b"Status: 200 OK\r\n\r\nfine\n")


# --- what it asks for, and what it prints


@pytest.mark.parametrize("argument, path, uri, query", [
    (None, "/api/health", "/api/health", ""),
    ("/api/status", "/api/status", "/api/status", ""),
    ("/x?a=b&c", "/x", "/x?a=b&c", "a=b&c"),
    ("?only=edges", "/api/health", "/api/health?only=edges", "only=edges"),
    ("?a?b", "/api/health", "/api/health?a?b", "a?b"),
    ("/x?", "/x", "/x", ""),
    ("?", "/api/health", "/api/health", ""),
    ("/", "/", "/", ""),
    ("/" + "x" * 16383, "/" + "x" * 16383, "/" + "x" * 16383, ""),
], ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("closed", [False, True], ids=["", "no descriptor"])
def test_the_request_is_that_of_a_web_server_for_an_operator(directory, argument, path, uri, query, closed):
    """If no standard descriptor is open, the socket must not become one."""
    with Script(directory, sends(OK)) as peer:
        closes = "<&- >&- 2>&-" if closed else ""
        arguments = [argument] if argument else []
        done = subprocess.run(["sh", "-c", f'exec "$0" --ask "$@" {closes}', program.PROGRAM, *arguments],
                              env=program.environment(HEALTH_LISTEN=peer.listen), timeout=30, check=False,
                              capture_output=True)
        assert (done.returncode, done.stdout) == ((1, b"") if closed else (0, b"fine\n"))
        assert peer.received == [
            fastcgi.begin(keep=False) + fastcgi.record(fastcgi.PARAMS, fastcgi.pairs({
                "REQUEST_METHOD": "GET", "SCRIPT_NAME": path, "SCRIPT_FILENAME": path, "REQUEST_URI": uri,
                "QUERY_STRING": query, "SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1",
                "AUDIENCE": "operator"})) + fastcgi.record(fastcgi.PARAMS) + fastcgi.record(fastcgi.STDIN)]


@pytest.mark.parametrize("head, code", [
    ("", 0), ("Status: 200 OK\r\n", 0), ("Status: 204 No Content\r\n", 0), ("Status: 299\r\n", 0),
    ("Status: 199\r\n", 1), ("Status: 300\r\n", 1), ("Status: 404 Not Found\r\n", 1), ("Status: 503\r\n", 1)])
def test_the_exit_code_is_0_for_2xx_and_1_for_any_other_answer(directory, head, code):
    with Script(directory, sends(answer(f"{head}X: y\r\n\r\nbo\0dy".encode()))) as peer:
        asked = Asked(HEALTH_LISTEN=peer.listen)
    assert (asked.code, asked.out, asked.err) == (code, "bo\0dy", "")


@pytest.mark.parametrize("output, code", [(b"", 1), (b"Status: 500\r\n\r\n", 1), (b"Status: 204\r\n\r\n", 0)])
def test_a_failure_without_a_document_says_so(directory, output, code):
    """A web server would make a page of its own. Such is the answer of a peer that is overloaded (FCGI_OVERLOADED)."""
    with Script(directory, sends(answer(output))) as peer:
        asked = Asked(HEALTH_LISTEN=peer.listen)
        if code == 0:
            assert (asked.code, asked.out, asked.err) == (0, "", "")
        else:
            asked.expect_failure(1, "without a document", address=peer.listen)


def test_a_long_document_arrives_whole(directory):
    document = "".join(f"{n}\n" for n in range(300_000))
    pieces = [document[at:at + 60_000].encode() for at in range(0, len(document), 60_000)]
    with Script(directory, sends(answer(b"\r\n", end=False) + b"".join(answer(piece, end=False) for piece in pieces)
                                 + answer(b""))) as peer:
        asked = Asked(HEALTH_LISTEN=peer.listen)
    assert asked.code == 0 and asked.out == document


@pytest.mark.parametrize("argument, expected", [
    ("", "expected /PATH"), ("api/health", "expected /PATH"), ("http://localhost/api/health", "expected /PATH"),
    ("--help", "expected /PATH"), ("\x1b[31m\n", "expected /PATH"), ("/" + "x" * 16384, "at most 16384"),
    ("?" + "x" * 16384, "at most 16384")], ids=lambda value: value[:15])
def test_a_bad_target_exits_64_and_says_what_was_expected(argument, expected):
    asked = Asked(argument, HEALTH_LISTEN="unix:/no/such/socket")
    asked.expect_failure(64, "--ask", expected)
    assert asked.err.strip().isprintable()


def test_a_second_argument_exits_64():
    Asked("/api/health", "/api/status").expect_failure(64, "unexpected argument '/api/status'")


# --- behind the real program


def test_the_program_answers_all_routes(backend):
    settings = {"HEALTH_LISTEN": f"unix:{backend.socket}"}
    asked = Asked(**settings)
    assert (asked.code, asked.err) == (0, "") and asked.out.endswith("}\n")
    assert json.loads(asked.out)["counts"] == backend.document()["counts"]
    for target, code, member in (("/api/status", 0, "transitions"), ("/api/health/live", 0, "status"),
                                 ("?x", 0, "counts"), ("/api/healthy", 1, "detail"), ("?%", 1, "detail")):
        asked = Asked(target, **settings)
        assert (asked.code, asked.err) == (code, "") and member in json.loads(asked.out), target


def test_bare_hides_nothing_from_whoever_may_open_the_socket(start_backend):
    backend = start_backend(HEALTH_PUBLIC="bare")
    backend.wait_status("healthy")
    listen = f"unix:{backend.socket}"
    assert list(backend.document()) == ["status"]
    assert json.loads(Asked(HEALTH_LISTEN=listen).out)["counts"]["edges"] > 0
    for query, code in (("?only=edges", 0), ("?only=process", 0), ("?only=nothing", 1), ("?only=", 1)):
        asked = Asked(query, HEALTH_LISTEN=listen)
        assert (asked.code, asked.err) == (code, "") and json.loads(asked.out)["status"] in ("healthy", 400, 404), query


def test_a_degraded_program_prints_its_document_and_exits_1(start_backend):
    backend = start_backend(PGHOST="/no/such")
    backend.wait_status("degraded")
    asked = Asked(HEALTH_LISTEN=f"unix:{backend.socket}")
    assert (asked.code, asked.err) == (1, "")
    assert json.loads(asked.out)["failing"] == [{"check": "database", "reason": "unreachable"}]
    assert Asked("/api/health/live", HEALTH_LISTEN=f"unix:{backend.socket}").code == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_tcp_works_like_a_unix_socket(start_backend, host):
    listen = f"tcp:{host}:{free_port()}"
    Asked(HEALTH_LISTEN=listen).expect_failure(69, "nobody listens", "start health-api", address=listen)
    backend = start_backend(wait=False, HEALTH_LISTEN=listen, PGHOST="/no/such")
    wait_until(lambda: Asked("/api/health/live", HEALTH_LISTEN=listen).code == 0, 10, "an answer over TCP")
    assert Asked(HEALTH_LISTEN=listen).code == 1
    backend.process.send_signal(signal.SIGSTOP)
    Asked(HEALTH_LISTEN=listen).expect_failure(69, "no answer after 2 s", address=listen)


def test_only_health_listen_matters(directory):
    with Script(directory, sends(OK)) as peer:
        for name, value, _ in BAD:
            if name != "HEALTH_LISTEN":
                asked = Asked(**{"HEALTH_LISTEN": peer.listen, name: value})
                assert (asked.code, asked.out, asked.err) == (0, "fine\n", ""), name
        asked = Asked(HEALTH_LISTEN=peer.listen, HEALTH_NO_SUCH="x", PGHOST="\x1b", PGOPTIONS="-x",
                      NOTIFY_SOCKET="/no/such")
        assert (asked.code, asked.out, asked.err) == (0, "fine\n", "")


@pytest.mark.parametrize("value, expected", [
    *[(value, expected) for name, value, expected in BAD if name == "HEALTH_LISTEN"],
    ("tcp:0.0.0.0:9000", "loopback"), ("tcp:*:9000", "loopback"), ("tcp:example.org:9000", "numeric address"),
], ids=lambda value: value[:20])
def test_a_bad_address_exits_78(value, expected):
    Asked(HEALTH_LISTEN=value).expect_failure(78, f"HEALTH_LISTEN='{value[:60]}", expected)


def test_the_default_is_the_socket_of_the_unit():
    with open(os.path.join(ROOT, "systemd", "health-api.socket"), encoding="ascii") as file:
        path = re.search(r"^ListenStream=(.*)$", file.read(), re.M)[1]
    if os.path.exists(path):
        pytest.skip("health-api runs on this machine")
    for settings in ({}, {"HEALTH_LISTEN": ""}):
        Asked(**settings).expect_failure(69, "there is no socket", address=f"unix:{path}")


# --- nobody answers


@contextlib.contextmanager
def listener(path, kind=socket.SOCK_STREAM, backlog=None):
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(path)
        if backlog is not None:
            sock.listen(backlog)
        yield sock


@contextlib.contextmanager
def full_queue(path):
    with listener(path, backlog=0), contextlib.ExitStack() as clients:
        with pytest.raises(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        yield


@contextlib.contextmanager
def symbolic_link(path):
    os.symlink("/no/such", path)
    yield


@contextlib.contextmanager
def file(path):
    with open(path, "w", encoding="ascii"):
        yield


@contextlib.contextmanager
def directory_at(path):
    os.mkdir(path)
    yield


@pytest.mark.parametrize("make, found, advice", [
    (lambda path: contextlib.nullcontext(), "there is no socket", "start health-api"),
    (listener, "nobody listens at this socket", "start health-api"),
    (file, "this is a file, not a socket", "set HEALTH_LISTEN"),
    (directory_at, "this is a directory, not a socket", "set HEALTH_LISTEN"),
    (symbolic_link, "there is no socket", "set HEALTH_LISTEN"),
    (lambda path: listener(path, socket.SOCK_DGRAM), "Protocol wrong type for socket", "side that asks"),
    (full_queue, "the queue of connections is still full after 2 s", "hangs"),
    (lambda path: listener(path, backlog=5), "there is no answer after 2 s", "hangs"),
], ids=["missing", "stale", "file", "directory", "link", "datagram", "full", "not accepted"])
def test_a_path_where_no_program_answers(directory, make, found, advice):
    path = f"{directory}/s"
    with make(path):
        asked = Asked(HEALTH_LISTEN=f"unix:{path}")
    asked.expect_failure(69, found, advice, address=f"unix:{path}")
    assert asked.took_s < ("after 2 s" in found) * LIMIT_S + START_S


HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
WARNING = fastcgi.record(fastcgi.STDERR, b"patience" * 1000)
BEGUN = answer(b"Status: 200 OK\r\n\r\n{", end=False)


@pytest.mark.parametrize("script, found, advice, waits", [
    (is_silent(), "there is no answer after 2 s", "restart it", True),
    (is_silent(BEGUN), "the answer has not ended after 2 s", "restart it", True),
    (drips(answer(b"Status: 200 OK\r\n\r\n" + b"x" * 100)), "the answer has not ended after 2 s", "restart it", True),
    (floods(WARNING), "the answer has not ended after 2 s", "restart it", True),
    (sends(b""), "closed before an answer", "ask again", False),
    (sends(b"busy\n"), "closed before an answer", "ask again", False),
    (sends(BEGUN), "closed during the answer", "ask again", False),
    (sends(OK[:-1]), "closed during the answer", "ask again", False),
    (sends(HTTP), "the answer is not FastCGI", "ss -xlp", False),
    (is_silent(HTTP), "the answer is not FastCGI", "ss -xlp", False),
    (floods(answer(b"x" * 60_000, end=False)), "the answer is too long", "ss -xlp", False),
], ids=["silent", "begun", "drip", "flood of warnings", "closes", "busy", "cut", "cut at the end", "http", "http stays",
        "flood"])
def test_a_peer_that_gives_no_whole_answer(directory, script, found, advice, waits):
    with Script(directory, script) as peer:
        asked = Asked(HEALTH_LISTEN=peer.listen)
        asked.expect_failure(69, found, advice, address=peer.listen)
        assert waits * LIMIT_S <= asked.took_s < LIMIT_S + START_S


def test_a_real_web_server_does_not_speak_fastcgi(directory):
    nginx = Nginx(directory).start()
    try:
        listen = f"tcp:127.0.0.1:{nginx.port}"
        Asked(HEALTH_LISTEN=listen).expect_failure(69, "the answer is not FastCGI", "ss -tlnp", address=listen)
    finally:
        nginx.stop()


def test_a_stopped_program_is_hung_and_answers_when_it_goes_on(start_backend):
    backend = start_backend(PGHOST="/no/such")
    listen = f"unix:{backend.socket}"
    backend.process.send_signal(signal.SIGSTOP)
    asked = Asked("/api/health/live", HEALTH_LISTEN=listen)
    asked.expect_failure(69, "there is no answer after 2 s", "hangs", address=listen)
    assert LIMIT_S <= asked.took_s < LIMIT_S + START_S
    backend.process.send_signal(signal.SIGCONT)
    assert Asked("/api/health/live", HEALTH_LISTEN=listen).code == 0


# --- standard output


@pytest.mark.parametrize("redirection, why", [
    (">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")])
def test_a_document_that_cannot_be_written_is_exit_1(directory, redirection, why):
    with Script(directory, sends(OK)) as peer:
        done = subprocess.run(["sh", "-c", f'exec "$0" --ask {redirection}', program.PROGRAM], timeout=30, check=False,
                              env=program.environment(HEALTH_LISTEN=peer.listen), text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"health-api: standard output: {why}\n")


def test_a_reader_that_has_gone_is_an_error_and_no_signal(directory):
    reader, writer = os.pipe()
    os.close(reader)
    with Script(directory, sends(OK)) as peer:
        done = subprocess.run([program.PROGRAM, "--ask"], env=program.environment(HEALTH_LISTEN=peer.listen),
                              timeout=30, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "health-api: standard output: Broken pipe\n")


# --- other users, containers, and the service's environment


@pytest.fixture
def guarded(start_backend, directory):
    """A program whose socket belongs to the group www-data, and a copy of the program for other users."""
    backend = start_backend(HEALTH_SOCKET_MODE="0660", HEALTH_SOCKET_GROUP="www-data", PGHOST="/no/such")
    backend.wait_status("degraded")
    backend.copy = process.copy_for_anyone(program.PROGRAM, directory)
    return backend


def ask_as(backend, uid, groups, listen=None):
    done = subprocess.run([backend.copy, "--ask", "/api/health/live"], user=uid, group=NOBODY, extra_groups=groups,
                          timeout=30, check=False, text=True, capture_output=True,
                          env=program.environment(HEALTH_LISTEN=listen or f"unix:{backend.socket}"))
    return done.returncode, done.stdout, done.stderr


@needs_root
def test_a_member_of_the_sockets_group_may_ask_and_another_user_is_told_who_may(guarded):
    gid = os.stat(guarded.socket).st_gid
    code, out, err = ask_as(guarded, NOBODY, [gid])
    assert (code, json.loads(out)["status"], err) == (0, "alive", "")
    prefix = f"health-api: unix:{guarded.socket}: user"
    advice = ": run this as root (sudo), or as a user who may\n"
    assert ask_as(guarded, NOBODY, []) == (
        69, "",
        f"{prefix} nobody may not connect: the socket is that of user root and group www-data, mode 0660{advice}")
    os.chown(guarded.socket, 47110, 47110)  # the files in /etc do not name these
    assert ask_as(guarded, 47111, []) == (
        69, "",
        f"{prefix} 47111 may not connect: the socket is that of user 47110 and group 47110, mode 0660{advice}")


@needs_root
@pytest.mark.parametrize("make, kind", [(file, "file"), (directory_at, "directory")])
def test_a_path_that_is_no_socket_is_no_matter_of_permission(guarded, directory, make, kind):
    """The kernel looks at the permission first."""
    path = f"{directory}/other"
    with make(path):
        os.chmod(path, 0o700)
        assert ask_as(guarded, NOBODY, [], f"unix:{path}") == (
            69, "", f"health-api: unix:{path}: this is a {kind}, not a socket: start health-api, or set HEALTH_LISTEN "
                    "to the address where it listens\n")


@needs_root
def test_a_directory_that_the_user_may_not_enter_is_named_as_the_cause(guarded, directory):
    os.mkdir(f"{directory}/closed", 0o700)
    listen = f"unix:{directory}/closed/s"
    assert ask_as(guarded, NOBODY, [], listen) == (
        69, "", f"health-api: {listen}: user nobody may not enter a directory of this path: "
                "run this as root (sudo), or as a user who may\n")


# The root has the program, its libraries and the directory of the socket: no /proc, no /dev, no /etc.
CONTAINER = """
root=$1 run=$2 listen=$3 identity=$4
shift 4
mount --bind "$root" "$root"
mount --bind "$run" "$root/run"
mount -o remount,bind,ro "$root"
exec env -i HEALTH_LISTEN="$listen" setpriv --no-new-privs "$(command -v chroot)" $identity "$root" /health-api "$@"
"""


def make_root(root):
    """Copies the program and its libraries."""
    os.makedirs(f"{root}/run")
    shutil.copy(program.PROGRAM, f"{root}/health-api")
    libraries = subprocess.run(["ldd", program.PROGRAM], text=True, capture_output=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", libraries):
        os.makedirs(os.path.dirname(f"{root}{path}"), exist_ok=True)
        shutil.copy(path, f"{root}{path}")


@needs_root
@pytest.mark.skipif(program.SANITIZED, reason="a sanitizer needs /proc")
def test_it_works_in_a_read_only_root_without_anything_else(guarded, directory):
    root, run = f"{directory}/root", f"{directory}/run"
    make_root(root)
    os.mkdir(run)
    os.chmod(directory, 0o755)
    os.rename(guarded.socket, f"{run}/s")
    gid = os.stat(f"{run}/s").st_gid

    def ask(groups, *arguments):
        done = subprocess.run(["unshare", "--mount", "--net", "sh", "-ec", CONTAINER, "sh", root, run, "unix:/run/s",
                               f"--userspec=47111:47111 --groups={groups}", *arguments], text=True, capture_output=True,
                              timeout=30, check=False)
        return done.returncode, done.stdout, done.stderr

    try:
        code, out, err = ask(gid, "--ask", "/api/health/live")
        assert (code, err) == (0, "") and json.loads(out)["status"] == "alive"
        code, out, err = ask(gid, "--ask")
        assert (code, err) == (1, "") and json.loads(out)["status"] == "degraded"
        code, out, err = ask("47111", "--ask")
        assert (code, out) == (69, "") and f"the socket is that of user 0 and group {gid}, mode 0660" in err
    finally:
        os.rename(f"{run}/s", guarded.socket)


@needs_root
def test_the_environment_file_is_named_only_if_nobody_listens_at_the_default(directory):
    """Gives the program an /etc with that file, and an empty /run."""
    os.makedirs(f"{directory}/etc/health-api")
    with open(f"{directory}/etc/health-api/environment", "w", encoding="ascii"):
        pass
    command = f'mount --bind {directory}/etc /etc; mount -t tmpfs none /run; exec {program.PROGRAM} --ask'

    def hint(**settings):
        done = subprocess.run(["unshare", "--mount", "sh", "-ec", command], env=program.environment(**settings),
                              text=True, capture_output=True, timeout=30, check=False)
        assert done.returncode == 69
        first, *rest = done.stderr.splitlines()
        assert "there is no socket" in first
        return rest
    assert hint() == ["health-api: /etc/health-api/environment was not read: only systemd reads it, for the service.",
                      "To ask the service, run:",
                      "  systemd-run --pipe --wait --collect -q -p User=health-api"
                      " -p EnvironmentFile=/etc/health-api/environment health-api --ask"]
    assert hint(HEALTH_LISTEN="unix:/run/no/such") == []
    assert hint(INVOCATION_ID="x") == []
