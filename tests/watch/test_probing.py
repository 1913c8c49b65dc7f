"""Requests to real servers that answer, hang, drip, flood, redirect or reset. None takes longer than its deadline."""
import contextlib
import os
import re
import socket
import ssl
import subprocess

import pytest

from harness import watchdog as w
from harness.webserver import free_port

# Three tries of 0.7 s, two pauses of 50 ms, and 4 s for a loaded machine.
WHOLE_S = 2.2 + 4


def test_a_site_that_answers_is_fine(dog, site):
    dog.write(site.url, "core /", "aux /a", "aux /b?x=1")
    done = dog.run()
    assert (done.code, done.out) == (0, "3 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error\n"), done
    assert done.err == ""


def test_the_request_names_the_watchdog_and_the_host(dog, site):
    dog.write(site.url, "core /x?y=1", host="www.example.org")
    assert dog.run().code == 0
    request = site.asked("/x?y=1")[0]
    assert "user-agent: health-watch/0.3.0\r\n" in request.lower()
    assert "\r\nhost: www.example.org\r\n" in request.lower()
    assert request.count("ost:") == 1


def test_the_user_agent_can_be_set(dog, site):
    dog.write(site.url, "core /", user_agent="our watch (ops@example.org)")
    dog.run()
    assert "User-Agent: our watch (ops@example.org)\r\n" in site.requests[0]


@pytest.mark.parametrize("behaviour", [w.hangs, w.drips, w.drips_body, w.slow_headers], ids=lambda f: f.__name__)
def test_slow_responses_end_at_the_deadline_and_are_tried_again(dog, site, behaviour):
    site.behaviours["/slow"] = behaviour
    dog.write(site.url, "core /", "aux /slow")
    done = dog.run()
    assert done.code == 1
    assert done.summary == "1 OK, 1 timeout/unreachable, 0 rate-limited, 0 HTTP error"
    assert done.lines[0].startswith("aux /slow: no complete response within 700 ms (")
    assert 2.2 <= done.seconds < WHOLE_S
    assert len(site.asked("/slow")) == done.tries >= 3


@pytest.mark.parametrize("behaviour,code,words", [
    (w.endless_headers, 1, "malformed response: the headers exceed 65536 bytes"),
    (w.endless_header_line, 1, "malformed response"),
    (w.no_http, 1, "malformed response"),
    (w.cut_short, 1, "malformed response"),
    (w.resets, 1, "closed without a response"),
    (w.closes, 1, "closed without a response"),
    (w.answers("500 Oops"), 1, "500, not an accepted code"),
    (w.answers("302 Found", headers=["Location: /"]), 1, "302, not an accepted code"),
    (w.answers("502 Bad Gateway"), 1, "502, the proxy cannot reach the backend"),
    (w.times_out, 1, "504, the backend did not answer the proxy in time"),
    (w.answers("504 Gateway Timeout"), 1, "too soon for a timeout of the proxy"),
    (w.answers("503 No", headers=["x-health-source:  NGINX "]), 1, "503, nginx itself failed"),
    (w.answers("503 No", w.DOWN["hung"], ["X-Health-Source: nginx"]), 1, "503 from nginx, the backend did not answer the proxy"),
    (w.answers("503 No", w.DOWN["unreachable"], ["X-Health-Source: nginx"]), 1, "503 from nginx, the proxy cannot reach the backend"),
    (w.answers("503 No", headers=["X-Health-Source: backend"]), 1, "503, not an accepted code"),
    (w.answers("429 Slow down"), 0, "429, rate-limited"),
], ids=range(16))
def test_unexpected_responses_are_reported(dog, site, behaviour, code, words):
    site.behaviours["/x"] = behaviour
    dog.write(site.url, "core /", "aux /x")
    for _ in range(3):
        done = dog.run()
        if words in done.lines[0]:
            break  # a 504 is too soon only if it comes within 100 ms, and the machine may be busy
    assert done.code == code, done
    assert words in done.lines[0], done
    assert done.seconds < 5


def test_an_endless_body_counts_as_a_response_after_64_kib(dog, site):
    site.behaviours["/flood"] = w.endless_body
    dog.write(site.url, "core /flood")
    done = dog.run()
    assert done.code == 0, done
    assert done.seconds < 3


def test_an_endless_body_is_never_the_expected_json(dog, site):
    site.behaviours["/flood"] = w.endless_body
    dog.write(site.url, "core /flood json status=healthy")
    done = dog.run()
    assert (done.code, "the body exceeds 65536 bytes" in done.out) == (2, True), done


def test_redirects_are_followed_only_when_asked_to(dog, site):
    site.behaviours.update({"/a": w.redirects_to("/b"), "/b": w.redirects_to("/c"), "/c": w.answers("200 OK"),
                            "/loop": w.redirects_to("/loop"), "/file": w.redirects_to("file:///etc/passwd")})
    dog.write(site.url, "core /a follow", "aux /loop follow", "aux /file follow", "aux /b")
    done = dog.run("--verbose")
    assert "core /a: ok, 200" in done.out, done
    assert "aux /loop: more than 5 redirects" in done.out
    assert "aux /file: malformed response" in done.out
    assert "aux /b: 302" in done.out
    assert len(site.asked("/loop")) == 6


def test_each_route_accepts_its_own_codes(dog, site):
    site.behaviours.update({"/r": w.answers("302 Found", headers=["Location: /"]), "/s": w.answers("503 Busy"),
                            "/l": w.answers("429 Slow down")})
    dog.write(site.url, "core /r codes 200-399 liveness", "core /s codes 200,302,503", "core /l codes 429")
    assert dog.run().code == 0
    dog.write(site.url, "core /r codes 200-399", "core /l codes 429 liveness")
    assert dog.run().code == 1, "an accepted 429 does not show whether the backend lives"


def test_a_route_can_require_a_json_value(dog, site):
    site.behaviours.update({"/good": w.answers("200 OK", b'{"status":"healthy","db":{"up":true}}'),
                            "/bad": w.answers("200 OK", b'{"status":"degraded"}')})
    dog.write(site.url, "core /good json db.up=true", "aux /bad json status=healthy")
    done = dog.run()
    assert done.code == 1
    assert done.lines[0].startswith("aux /bad: 200, expected status=healthy: the value is different")


def test_a_transient_timeout_is_no_failure(dog, site):
    def once_silent(server, connection, request):
        (w.hangs if len(server.asked("/t")) == 1 else w.answers("200 OK"))(server, connection, request)
    site.behaviours["/t"] = once_silent
    dog.write(site.url, "core /t")
    done = dog.run("--verbose")
    assert done.code == 0
    assert "core /t: ok, 200 in " in done.out and "2 tries" in done.out


def test_requests_run_at_the_same_time_up_to_the_limit(dog, site):
    active, seen = [], []

    def slow(server, connection, request):
        active.append(request)
        seen.append(len(active))
        ended = server.ended.wait(0.3)
        active.remove(request)  # before the reply, after which the next request may come
        if not ended:
            w.reply(connection)
    site.default = slow
    dog.write(site.url, "core /", *[f"aux /{n}" for n in range(20)], concurrency=7, timeout="5s")
    done = dog.run()
    assert done.code == 0, done
    assert max(seen) == 7
    assert 0.9 <= done.seconds < 0.3 * 21


def test_21_routes_that_hang_take_no_longer_than_three_rounds_of_tries(dog, site):
    site.default = w.hangs
    dog.write(site.url, "core /", *[f"aux /{n}" for n in range(20)], concurrency=8)
    done = dog.run()
    assert done.code == 2
    assert done.summary == "0 OK, 21 timeout/unreachable, 0 rate-limited, 0 HTTP error"
    assert done.seconds < 9 * 0.7 + 5


def test_a_refused_port(dog):
    dog.write(f"http://127.0.0.1:{free_port()}", "core /")
    done = dog.run()
    assert done.code == 2
    assert done.lines[0].startswith("core /: refused: Connection refused (") and done.tries >= 3


def test_a_name_without_address_is_unknown(dog, systemctl):
    dog.write("http://no-such-host.invalid", "core /", unit="site", timeout="5s", connect_timeout="5s")
    done = dog.run()
    assert done.code == 3, done
    assert "core /: name resolution failed: " in done.out
    assert systemctl.orders() == []
    assert done.summary == "0 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error, 1 unknown"


def test_a_connection_attempt_ends_at_connect_timeout(dog):
    """The queue of the listener is full, so the kernel drops new connections. libcurl rounds times up to milliseconds."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        dog.write(f"http://127.0.0.1:{listener.getsockname()[1]}", "core /", connect_timeout="300ms", timeout="20s")
        done = dog.run()
    assert done.code == 2
    assert re.match(r"core /: no connection within (299|3\d\d) ms \(", done.lines[0]) and done.tries >= 3, done
    assert done.seconds < 15


def test_with_a_silent_resolver_a_route_is_unknown_and_the_run_ends(dog, directory):
    """The program runs in a mount namespace whose /etc/resolv.conf names a server that never answers."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.53", 53))
        with open(f"{directory}/resolv.conf", "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.53\noptions timeout:30 attempts:5\n")
        with open(f"{directory}/nsswitch.conf", "w", encoding="ascii") as file:
            file.write("hosts: dns\n")
        dog.write("http://slow.example.org", "core /", unit="site")
        done = subprocess.run(["unshare", "--mount", "sh", "-c",
                               f"mount --bind {directory}/resolv.conf /etc/resolv.conf && "
                               f"mount --bind {directory}/nsswitch.conf /etc/nsswitch.conf && "
                               f'exec "$@"', "sh", w.PROGRAM, dog.file], env=dog.environment(), text=True,
                              capture_output=True, timeout=30, check=False)
    assert done.returncode == 3, done
    assert "core /: name resolution failed: " in done.stdout, done
    assert dog.systemctl.orders() == []


def make_certificate(path, name="IP:127.0.0.1", days="2"):
    """Makes a key and a self-signed certificate. With negative days the certificate has expired."""
    subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", path + ".key", "-out", path + ".csr",
                    "-subj", "/CN=a site"], check=True, capture_output=True)
    with open(path + ".ext", "w", encoding="ascii") as file:
        file.write(f"subjectAltName={name}\n")
    subprocess.run(["openssl", "x509", "-req", "-in", path + ".csr", "-signkey", path + ".key", "-days", days, "-out", path,
                    "-extfile", path + ".ext"], check=True, capture_output=True)
    return path


@pytest.fixture
def certificate(directory):
    return make_certificate(os.path.join(directory, "cert.pem"))


@pytest.fixture
def tls_site(start_site, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate + ".key")
    return start_site(tls=context)


def test_with_an_untrusted_certificate_a_route_is_unknown(dog, tls_site):
    dog.write(tls_site.url, "core /", unit="site")
    done = dog.run()
    assert done.code == 3
    assert "core /: TLS failed: " in done.out
    assert tls_site.requests == [] and dog.systemctl.orders() == []


def test_a_certificate_in_ca_file_is_trusted(dog, tls_site, certificate):
    dog.write(tls_site.url, "core /", ca_file=certificate)
    assert dog.run().code == 0


@pytest.mark.parametrize("wrong,words", [
    ({"name": "DNS:elsewhere.example"}, "no alternative certificate subject name matches"),
    ({"days": "-1"}, "expired"),
], ids=["another name", "expired"])
def test_with_a_wrong_or_expired_certificate_a_route_is_unknown(dog, start_site, directory, wrong, words):
    path = make_certificate(os.path.join(directory, "wrong.pem"), **wrong)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path + ".key")
    site = start_site(tls=context)
    dog.write(site.url, "core /", ca_file=path, unit="site")
    done = dog.run()
    assert done.code == 3, done
    assert "core /: TLS failed: " in done.out and words in done.out
    assert site.requests == [] and dog.systemctl.orders() == []


def test_if_a_server_requires_a_client_certificate_a_route_is_unknown(dog, start_site, certificate):
    """In TLS 1.3 the server refuses the client after the client's handshake, which looks like a closed connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, certificate + ".key")
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    site = start_site(tls=context)
    dog.write(site.url, "core /", ca_file=certificate, unit="site")
    assert dog.run().code == 3
    assert site.requests == [] and dog.systemctl.orders() == []


def test_if_a_tls_port_serves_plain_http_a_route_is_unknown(dog, start_site):
    site = start_site(ends_request=b"\x16\x03")  # answers a TLS handshake with plain text, as plain servers do
    site.default = w.answers("400 Bad Request")
    dog.write(site.url.replace("http:", "https:"), "core /", unit="site")
    done = dog.run()
    assert done.code == 3, done
    assert "core /: TLS failed: " in done.out
    assert len(site.requests) > 0 and dog.systemctl.orders() == []


def test_a_server_that_is_silent_during_the_handshake_hangs(dog, site):
    dog.write(site.url.replace("http:", "https:"), "core /", unit="site", restart_wait="1s",
              tries="1", timeout="4s", connect_timeout="4s")  # a loaded machine reads a CA bundle slowly
    assert dog.run().code == 2
    assert dog.systemctl.orders() == ["kill"]


def test_http_over_a_unix_socket(dog, start_site, directory):
    site = start_site(os.path.join(directory, "http.sock"))
    dog.write(site.url, "core /x")
    assert dog.run().code == 0
    assert "\r\nHost: localhost\r\n" in site.asked("/x")[0]


def test_a_unix_socket_without_a_server_refuses(dog, start_site, directory):
    path = os.path.join(directory, "http.sock")
    start_site(path).close()
    dog.write(f"unix:{path}", "core /")
    assert "core /: refused: Connection refused" in dog.run().out
    os.unlink(path)
    assert "core /: refused: No such file or directory" in dog.run().out


def test_a_unix_socket_with_a_full_backlog_counts_as_unreachable(dog, directory):
    path = os.path.join(directory, "http.sock")
    clients = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        for _ in range(3):
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            clients[-1].connect_ex(path)
        dog.write(f"unix:{path}", "core /")
        done = dog.run()
        for client in clients:
            client.close()
    assert done.code == 2, done
    assert done.summary == "0 OK, 1 timeout/unreachable, 0 rate-limited, 0 HTTP error"


def test_proxies_of_the_environment_are_not_used(dog, site):
    dog.write(site.url, "core /")  # Watchdog.environment names proxies that refuse
    assert dog.run().code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
@pytest.mark.parametrize("listener", [False, True], ids=["", "listener"])
def test_if_the_sandbox_hides_the_socket_a_route_is_unknown_and_nothing_is_killed(dog, start_site, systemctl, directory, listener):
    """With PrivateTmp= or ProtectHome= health-watch does not see the path, but all other processes do."""
    hidden = os.path.join(directory, "hidden")
    os.mkdir(hidden)
    site = start_site(os.path.join(hidden, "app.sock"))
    keys = {"listener": site.url} if listener else {}
    dog.write(site.url, "core /live", unit="site", **keys)
    assert dog.run().code == 0
    done = subprocess.run(["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{hidden}" && exec "$0" "$1"', w.PROGRAM, dog.file],
                          env=dog.environment(), text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3, done
    assert f"failed on this machine: {site.path} exists, but the sandbox hides it" in done.stdout
    assert (f"listener: unix:{site.path} exists, but the sandbox hides it" in done.stdout) == listener
    assert systemctl.orders() == []


@pytest.mark.skipif(os.geteuid() != 0 or not os.access("/proc/1/root/.", os.X_OK),
                    reason="a mount namespace needs root, and the right to look at pid 1")
def test_a_hidden_socket_is_noticed_in_another_network_namespace_too(dog, start_site, systemctl, directory):
    """With PrivateNetwork= the kernel does not list the socket either. It is enough that pid 1 sees the path."""
    hidden = os.path.join(directory, "hidden")
    os.mkdir(hidden)
    site = start_site(os.path.join(hidden, "app.sock"))
    dog.write(site.url, "core /live", unit="site", listener=site.url)
    done = subprocess.run(["unshare", "--mount", "--net", "sh", "-c", f'mount -t tmpfs none "{hidden}" && exec "$0" "$1"', w.PROGRAM, dog.file],
                          env=dog.environment(), text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3, done
    assert systemctl.orders() == []


def test_a_unit_whose_socket_path_was_removed_is_killed(dog, start_site, systemctl, directory):
    """The service still listens, but no client can reach it: only a restart helps."""
    site = start_site(os.path.join(directory, "app.sock"))
    os.unlink(site.path)
    dog.write(site.url, "core /live", unit="site", listener=site.url, restart_wait="1s")
    done = dog.run()
    assert "kill main process 4242 of site.service: its listener is gone" in dog.run("--dry-run").out
    assert done.code == 2 and systemctl.orders() == ["kill"], done


def test_a_json_value_or_key_with_a_nul_does_not_match(dog, site):
    site.behaviours.update({"/value": w.answers("200 OK", b'{"status":"healthy\\u0000x"}'),
                            "/key": w.answers("200 OK", b'{"status\\u0000x":"healthy"}')})
    dog.write(site.url, "core /", "aux /value json status=healthy", "aux /key json status=healthy")
    done = dog.run()
    assert done.code == 1
    assert done.summary == "1 OK, 0 timeout/unreachable, 0 rate-limited, 2 HTTP error", done
