"""HAProxy as the load balancer that checks /api/health of an nginx with the shipped snippets."""
from harness.backend import CHECKS, Backend
from harness.wait import hold_for, wait_until

from .servers import HAProxyChecker


def test_the_server_is_up_while_healthy_and_down_while_the_database_is_stopped(own_cluster, directory, nginx):
    backend = Backend(directory, **own_cluster.environment(HEALTH_CHECKS=CHECKS))
    checker = HAProxyChecker(directory)
    try:
        backend.start()
        backend.wait_status("healthy")
        checker.start(nginx.port)
        wait_until(lambda: checker.server()["check_code"] == "200", 10, "the first check")
        hold_for(lambda: checker.server()["status"] == "UP", 1.5, "UP while healthy")
        assert checker.server()["chkfail"] == "0"

        own_cluster.stop()
        down = wait_until(lambda: checker.server() if checker.server()["status"] == "DOWN" else None, 5, "DOWN")
        assert (down["check_status"], down["check_code"]) == ("L7STS", "503")
        assert checker.ask().status == 503

        own_cluster.start()
        wait_until(lambda: checker.server()["status"] == "UP", 15, "UP again")
        assert checker.ask().status == 200
    finally:
        checker.stop()
        assert backend.stop() == 0
