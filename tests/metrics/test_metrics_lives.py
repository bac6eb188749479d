"""The metrics of a real supervisor, fetched by a real HTTP client and read by the library's own parser."""

from __future__ import annotations

import http.client
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.daemon import Daemon
from support.forms import within

from wherry import RunSpec
from wherry_protocol.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 19101
TIMEOUT = within(10.0)
MIB = 1 << 20
SUPERVISOR_PSS = 45 * MIB


class UnixConnection(http.client.HTTPConnection):
    """http.client's, over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("scrape", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    try:
        made.start("--metrics", f"127.0.0.1:{PORT}")
        yield made
    finally:
        made.close()


def get(
    connection: http.client.HTTPConnection, method: str = "GET", path: str = "/metrics", **headers: str
) -> Any:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def scrape(connection: http.client.HTTPConnection) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return each sample by its name and labels, less those of a container's id."""
    answer, body = get(connection)
    assert answer.status == 200
    assert answer.getheader("content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        assert family.documentation, f"{family.name} has no HELP"
        for sample in family.samples:
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "id"))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


@pytest.fixture
def connection(daemon: Daemon) -> Iterator[http.client.HTTPConnection]:
    with closing(by_port()) as made:
        yield made


def by_port() -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT)


def test_lives_and_ends_are_counted(
    daemon: Daemon, connection: http.client.HTTPConnection, busybox: Path
) -> None:
    def run(*command: str, **fields: Any) -> None:
        with daemon.client() as client:
            client.run(RunSpec(image=str(busybox), command=command, auto_remove=True, **fields))

    before = scrape(connection)
    run("true")
    run("false")
    run("sh", "-c", "kill -9 $$; kill -TERM $$; sleep 10", init=True)
    after = scrape(connection)

    def grown(name: str, **labels: str) -> float:
        key = tuple(sorted(labels.items()))
        return after[name][key] - before[name].get(key, 0)

    assert grown("wherry_container_starts_total") == 3
    assert grown("wherry_container_exits_total", outcome="success") == 1
    assert grown("wherry_container_exits_total", outcome="failure") >= 1
    assert grown("wherry_events_total", type="container", action="die") == 3
    assert sum(after["wherry_containers"].values()) == 0


def test_a_running_container_has_its_numbers(
    daemon: Daemon, connection: http.client.HTTPConnection, busybox: Path
) -> None:
    with daemon.client() as client:
        spec = RunSpec(
            image=str(busybox), command=("sh", "-c", "while :; do :; done"), name="busy", network="none",
            stop_timeout=0, limits=Limits(memory=64 * MIB, pids=50),
        )  # fmt: skip
        client.run_detached(spec)
        found, me = scrape(connection), (("name", "busy"),)
        assert found["wherry_container_memory_limit_bytes"][me] == 64 * MIB
        assert found["wherry_container_pids_limit"][me] == 50
        assert found["wherry_container_pids"][me] == 1
        assert 0 < found["wherry_container_memory_working_set_bytes"][me] < 8 * MIB
        assert found["wherry_container_oom_kills_total"][me] == 0
        assert found["wherry_containers"][("state", "running"),] == 1
        seconds, deadline = found["wherry_container_cpu_seconds_total"][me], time.monotonic() + TIMEOUT
        while scrape(connection)["wherry_container_cpu_seconds_total"][me] <= seconds:
            assert time.monotonic() < deadline, "a busy loop uses no processor"
        client.remove("busy", force=True)
        assert me not in scrape(connection).get("wherry_container_pids", {})


def test_the_supervisors_own_memory_stays_in_its_bound(
    daemon: Daemon, connection: http.client.HTTPConnection
) -> None:
    for _ in range(20):
        found = scrape(connection)
    assert found["process_resident_memory_bytes"][()] > MIB
    assert found["wherry_launcher_process_open_fds"][()] > 3
    rollup = Path(f"/proc/{daemon.pid}/smaps_rollup").read_text()
    pss = int(rollup.partition("\nPss:")[2].split()[0]) << 10
    assert pss <= SUPERVISOR_PSS


def test_what_is_no_request_for_metrics_is_told_so(connection: http.client.HTTPConnection) -> None:
    assert get(connection, path="/other")[0].status == 404
    answer, _ = get(connection, "DELETE")
    assert (answer.status, answer.getheader("allow")) == (405, "GET, HEAD")
    assert get(connection, Host="evil.example")[0].status == 403
    answer, body = get(connection, "HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(answer.getheader("content-length")) > 1000
    assert get(connection, path="/metrics?collect=all")[0].status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello TLS\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, b"431"),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345", b"413"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
    ],
)
def test_garbage_is_refused_and_hung_up_on(daemon: Daemon, data: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", PORT), TIMEOUT) as sock:
        sock.sendall(data)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 " + status), answer


def test_those_who_say_nothing_or_read_nothing_keep_nobody_out(
    daemon: Daemon, connection: http.client.HTTPConnection
) -> None:
    """Some that hold connections open, and one that never reads what it asks for again and again."""
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", PORT), TIMEOUT))
        deaf = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), TIMEOUT))
        deaf.setblocking(False)
        request, sent = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 0
        while sent < 100 * len(request):
            try:
                sent += deaf.send(request)
            except BlockingIOError:
                break
        assert scrape(connection)
        with daemon.client() as client:
            client.ping()


def test_many_at_once_get_the_whole_page_each(daemon: Daemon) -> None:
    def one(_: int) -> int:
        with closing(by_port()) as connection:
            return len(scrape(connection))

    with ThreadPoolExecutor(16) as pool:
        sizes = list(pool.map(one, range(32)))
    assert len(set(sizes)) == 1
    assert sizes[0] > 15


def test_over_a_unix_socket_for_root_alone(fresh_wherryd: Daemon, tmp_path: Path) -> None:
    fresh_wherryd.terminate()
    path = tmp_path / "metrics.sock"
    fresh_wherryd.start("--metrics", f"unix:{path}")
    assert os.stat(path).st_mode & 0o777 == 0o600
    with closing(UnixConnection(str(path))) as connection:
        assert scrape(connection)["wherry_containers"][(("state", "running"),)] == 0
    fresh_wherryd.kill()
    fresh_wherryd.start("--metrics", f"unix:{path}")
    with closing(UnixConnection(str(path))) as connection:
        assert scrape(connection), "a socket that a killed one left is in the way"
    fresh_wherryd.terminate()
    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "says"),
    [("0.0.0.0:9101", "other machines could reach that"), (f"127.0.0.1:{PORT}", "Address already in use")],
)
def test_a_supervisor_that_cannot_serve_them_does_not_start(
    daemon: Daemon, tmp_path: Path, address: str, says: str
) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "wherryd.main", "--state-dir", str(tmp_path / "s"), "--run-dir"]
    done = subprocess.run(
        [*command, str(tmp_path / "r"), "--metrics", address],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.startswith("wherryd: --metrics "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
