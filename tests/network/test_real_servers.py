"""Servers as Debian has them, in containers from the `host` image, loaded from another machine by a port.

They are not installed, so that a run leaves no server on the machine, and works where there is none.
"""

from __future__ import annotations

import re
import shlex
import socket
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, published
from support.debian import Programs, programs
from support.forms import rounds
from support.waiting import wait_for

from wherry import Volume

if TYPE_CHECKING:
    from networkkit import Machine

SECONDS = rounds(short=1, long=30)
REQUESTS = rounds(short=20_000, long=1_000_000)
CONNECTIONS = 50
PLACE = "/opt/debian"
"""Where a container has the packages' programs."""

NGINX = """
cat > /tmp/nginx.conf << 'END'
user root; worker_processes 2; daemon off; pid /tmp/pid; error_log stderr;
events { }
http {
  access_log off;
  client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d;
  scgi_temp_path /tmp/e;
  server { listen 80; location / { return 200 "from a container"; } }
}
END
exec "$@"
"""


@pytest.fixture(scope="module")
def debian() -> Programs:
    return programs("nginx", "redis-server", "redis-tools", "wrk")


def serve(machine: Machine, debian: Programs, command: tuple[str, ...], port: int) -> None:
    """Have a server in a container, reached by the host's port 8080."""
    tree = Volume(source=str(debian.tree), target=PLACE, read_only=True)
    spec = machine.spec(image="host", command=command, ports=(published(8080, port),), volumes=(tree,))
    ref = machine.client.run_detached(spec).id
    assert wait_for(lambda: listens(machine)), machine.client.logs(ref)


def listens(machine: Machine) -> bool:
    """Say whether the container takes connections: the rules pass on also what nobody takes."""
    with machine.peer.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return sock.connect_ex((HOST, 8080)) == 0


def test_nginx_under_load(machine: Machine, debian: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request of wrk's is answered."""
    nginx = debian.command("nginx", "-e", "stderr", "-c", "/tmp/nginx.conf", at=PLACE)
    serve(machine, debian, ("sh", "-c", NGINX, "sh", *nginx), 80)
    address = f"http://{HOST}:8080/"
    wrk = debian.command("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", address)
    said = machine.peer.run(*wrk)
    with capsys.disabled():
        print("\nnginx, by wrk:", *re.findall(r"Requests/sec: +\S+|(?:50|99)% +\S+", said))
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    found = re.search(r"(\d+) requests in", said)
    assert found, said
    assert int(found[1]) > CONNECTIONS


def test_redis_under_load(machine: Machine, debian: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    """So is every command of redis-benchmark's."""
    options = shlex.split("--port 6379 --save '' --protected-mode no")
    serve(machine, debian, debian.command("redis-server", *options, at=PLACE), 6379)
    options = f"-h {HOST} -p 8080 -c {CONNECTIONS} -n {REQUESTS} -t set,get --csv".split()
    said = machine.peer.run(*debian.command("redis-benchmark", *options))
    with capsys.disabled():
        rows = re.findall(r'^"(SET|GET)","([\d.]+)"', said, re.MULTILINE)
        print("\nredis, by redis-benchmark:", *(f"{name} {rate}/s" for name, rate in rows))
    assert [name for name, _ in rows] == ["SET", "GET"], said
    assert "rror" not in said
