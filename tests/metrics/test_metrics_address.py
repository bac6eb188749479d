"""Where metrics may be served, and where not."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from wherry import BadRequest, Conflict, KernelFailure
from wherryd.metrics.address import Address, listening, parse_address
from wherryd.metrics.server import is_local
from wherryd.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/m.sock", Address(path="/run/m.sock")),
        ("127.0.0.1:9101", Address(host="127.0.0.1", port=9101)),
        ("127.9.8.7:1", Address(host="127.9.8.7", port=1)),
        ("[::1]:65535", Address(host="::1", port=65535)),
    ],
)
def test_what_only_this_machine_reaches_is_taken(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.0.0.0:9101", "other machines could reach that"),
        ("[::]:9101", "other machines could reach that"),
        ("192.168.1.1:9101", "other machines could reach that"),
        ("[::ffff:8.8.8.8]:9101", "other machines could reach that"),
        ("localhost:9101", "no such address"),
        (":9101", "no such address"),
        ("9101", "no such address"),
        ("::1:9101", "no such address"),
        ("127.0.0.1", "no such address"),
        ("127.0.0.1:0", "a port is 1 to 65535"),
        ("127.0.0.1:65536", "a port is 1 to 65535"),
        ("127.0.0.1:-1", "no such address"),
        ("127.0.0.1:٣", "no such address"),
        ("127.0.0.256:80", "127.0.0.256"),
        ("unix:m.sock", "must be absolute"),
        ("unix:", "must be absolute"),
        ("unix:/a\0b", "must be absolute"),
        ("unix:/" + "x" * 200, "at most 107 bytes"),
        ("unix:@abstract", "must be absolute"),
    ],
)
def test_everything_else_is_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        parse_address(text)


def test_flag_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('metrics = "127.0.0.1:3"\n')
    assert load_settings(environ={}, config_file=tmp_path / "none").metrics is None
    assert load_settings(environ={}, config_file=file).metrics == Address(host="127.0.0.1", port=3)
    environ = {"WHERRY_METRICS": "127.0.0.1:2"}
    assert load_settings(environ=environ, config_file=file).metrics == Address(host="127.0.0.1", port=2)
    found = load_settings(metrics="127.0.0.1:1", environ=environ, config_file=file).metrics
    assert found == Address(host="127.0.0.1", port=1)


def test_a_socket_is_ours_alone_and_goes_with_us(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with listening(Address(path=str(path))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with (
            pytest.raises(Conflict, match="somebody listens there already"),
            listening(Address(path=str(path))),
        ):
            pass
        assert path.exists(), "a living one's socket was taken away"
    assert not path.exists()


def test_what_is_in_the_place_of_the_socket_stays_unless_it_is_dead(tmp_path: Path) -> None:
    file, dead = tmp_path / "file", tmp_path / "dead"
    file.write_text("mine")
    with pytest.raises(Conflict, match="no socket"), listening(Address(path=str(file))):
        pass
    assert file.read_text() == "mine"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(dead))
    with listening(Address(path=str(dead))):
        assert dead.is_socket()
    with pytest.raises(KernelFailure, match="No such file"), listening(Address(path=f"{tmp_path}/no/m")):
        pass


def test_anothers_socket_in_our_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with listening(Address(path=str(path))), socket.socket(socket.AF_UNIX) as other:
        # A name of its own first: the inode of what is unlinked is given again at once.
        other.bind(str(tmp_path / "other"))
        os.rename(tmp_path / "other", path)
    assert path.exists()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True), ("localhost:9101", True), ("127.0.0.1:9101", True), ("[::1]:9101", True),
        ("[::1]", True), ("", True), ("10.0.0.1:9101", True), ("evil.example:9101", False),
        ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
    ],
)  # fmt: skip
def test_a_name_that_may_be_another_sites_is_no_host_of_ours(host: str, local: bool) -> None:
    assert is_local(host) is local
