"""The program itself stopped, killed or cut off: what nginx answers in its place."""
import os
import signal

from harness.wait import hold_for

HUNG, GONE = ("backend", "hung"), ("backend", "unreachable")
READ_TIMEOUT = 1.0  # fastcgi_read_timeout
AT_ONCE = 0.5


def test_the_program_stopped(backend, nginx, fault):
    backend.process.send_signal(signal.SIGSTOP)
    fault.injected()
    fault.expect(nginx, READ_TIMEOUT + AT_ONCE, HUNG)
    backend.process.send_signal(signal.SIGCONT)
    fault.healed(nginx, 1)


def test_the_program_killed(backend, nginx, fault):
    fault.injected()
    backend.process.kill()
    fault.expect(nginx, AT_ONCE, GONE)
    hold_for(lambda: nginx.ask().status == 503, 0.5, "503 while it is gone")
    backend.start()
    fault.healed(nginx, 1)


def test_the_programs_socket_unlinked(backend, start_backend, nginx, fault):
    """With no connection kept: through one nginx would still get an answer."""
    os.unlink(backend.socket)
    fault.injected()
    fault.expect(nginx, AT_ONCE, GONE)
    start_backend()
    fault.healed(nginx, 1)
