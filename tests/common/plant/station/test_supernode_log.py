"""What a SuperNode's own lines say; the lines are those of real ones (flwr 1.41)."""

from __future__ import annotations

import pytest

from common.plant.station.supernode_log import SuperNodeLog

HEARTBEAT_BROKE = """\
Exception in thread Thread-2 (_run):
Traceback (most recent call last):
  File "/usr/lib/python3.11/threading.py", line 1045, in _bootstrap_inner
    self.run()
  File "/site-packages/flwr/supercore/heartbeat.py", line 98, in _run
    self._retry_invoker.invoke(self._heartbeat)
  File "/site-packages/flwr/supernode/fleet_http_connection.py", line 121, in send_node_heartbeat
    response = client.SendNodeHeartbeat(
httpx.HTTPStatusError: Server error '500 Internal Server Error' for url 'https://127.0.0.1:1/v1'
"""


def heard(*lines: str) -> SuperNodeLog:
    log = SuperNodeLog()
    for second, line in enumerate(lines):
        log.hear(line, float(second))
    return log


def test_a_supernode_that_the_server_took() -> None:
    log = heard("\x1b[92mINFO \x1b[0m:      Starting Flower SuperNode")
    assert not log.online
    log.hear("\x1b[92mINFO \x1b[0m:      SuperNode ID: 14057999570226412877", 1.0)
    assert log.online
    assert log.failing_since is None
    assert log.reason == ""


def test_failing_lasts_from_the_first_failure_to_a_success() -> None:
    failed = "\x1b[93mWARNING \x1b[0m:   Connection attempt failed, retrying in 0.71 seconds"
    log = heard("INFO :      SuperNode ID: 1", failed, failed, failed)
    assert log.failing_since == 1.0
    log.hear("INFO :      Connection successful after 14.18 seconds and 6 tries.", 9.0)
    assert log.failing_since is None


def test_a_broken_heartbeat_is_heard_and_another_thread_s_end_is_not() -> None:
    assert heard(*HEARTBEAT_BROKE.splitlines()).heartbeat_broken
    other = HEARTBEAT_BROKE.replace("send_node_heartbeat", "watch_something_else")
    assert not heard(*other.splitlines()).heartbeat_broken
    # The word alone, outside a thread's end, says nothing; nor long after one.
    assert not heard("INFO :      send_node_heartbeat").heartbeat_broken
    assert not heard(*other.splitlines(), "INFO: send_node_heartbeat").heartbeat_broken


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("[code: 2004] Failed to activate SuperNode.", "not registered"),
        ("[code: 2001] SuperNode authentication is enabled.", "registered key"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "server.ca"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
        ("Unable to parse the private key file.", "server.key"),
        ("[Errno 98] error while attempting to bind: address already in use", "port"),
    ],
)
def test_why_a_supernode_ended(line: str, word: str) -> None:
    assert word in heard("INFO :      Starting Flower SuperNode", line).reason
    # A reason of the past, when it was taken in the end.
    assert heard(line, "INFO :      SuperNode ID: 1").reason == ""


def test_our_own_program_says_why_it_does_not_start() -> None:
    log = heard("fedpatchcore: trusted-app '12': expected 'installed', 'any' alone, or the hash")
    assert log.reason == "trusted-app '12': expected 'installed', 'any' alone, or the hash"
    assert not log.online


def test_a_key_that_is_not_the_certificate_s_is_told_before_it_is_online() -> None:
    """What flwr 1.41 makes of 403: an exception in its main thread, while others go on."""
    line = "flwr.supercore.run.RunNotRunningException"
    log = heard("Traceback (most recent call last):", line)
    assert log.not_bound
    assert "the gateway refused this station's key with this certificate (403)" in log.reason
    later = heard("INFO :      SuperNode ID: 1", line)
    assert not later.not_bound
