"""Servers as Debian has them, in containers from the `host` image, loaded from another machine by a port."""

from __future__ import annotations

import re
import shutil
import socket
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, eventually, published
from support.forms import rounds

if TYPE_CHECKING:
    from networkkit import Machine

SECONDS = rounds(short=1, long=30)
REQUESTS = rounds(short=20_000, long=1_000_000)
CONNECTIONS = 50

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
exec nginx -e stderr -c /tmp/nginx.conf
"""
REDIS = "exec redis-server --port 6379 --save '' --protected-mode no"


def need(*tools: str) -> None:
    """Skip where a program is missing, naming its Debian package."""
    packages = {"nginx": "nginx-light", "redis-server": "redis-server", "redis-benchmark": "redis-tools"}
    lacking = [packages.get(tool, tool) for tool in tools if shutil.which(tool) is None]
    if lacking:
        pytest.skip(f"apt-get install {' '.join(lacking)}")


def serve(machine: Machine, script: str, port: int) -> None:
    """Have a server in a container, reached by the host's port 8080."""
    spec = machine.spec(image="host", command=("sh", "-c", script), ports=(published(8080, port),))
    ref = machine.client.run_detached(spec).id
    assert eventually(lambda: listens(machine)), machine.client.logs(ref)


def listens(machine: Machine) -> bool:
    """Say whether the container takes connections: the rules pass on also what nobody takes."""
    with machine.peer.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return sock.connect_ex((HOST, 8080)) == 0


def test_nginx_under_load(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request of wrk's is answered."""
    need("nginx", "wrk")
    serve(machine, NGINX, 80)
    address = f"http://{HOST}:8080/"
    said = machine.peer.run("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", address)
    with capsys.disabled():
        print("\nnginx, by wrk:", *re.findall(r"Requests/sec: +\S+|(?:50|99)% +\S+", said))
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    found = re.search(r"(\d+) requests in", said)
    assert found, said
    assert int(found[1]) > CONNECTIONS


def test_redis_under_load(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """So is every command of redis-benchmark's."""
    need("redis-server", "redis-benchmark")
    serve(machine, REDIS, 6379)
    command = f"redis-benchmark -h {HOST} -p 8080 -c {CONNECTIONS} -n {REQUESTS} -t set,get --csv"
    said = machine.peer.run(*command.split())
    with capsys.disabled():
        rows = re.findall(r'^"(SET|GET)","([\d.]+)"', said, re.MULTILINE)
        print("\nredis, by redis-benchmark:", *(f"{name} {rate}/s" for name, rate in rows))
    assert [name for name, _ in rows] == ["SET", "GET"], said
    assert "rror" not in said
