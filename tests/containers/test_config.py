"""Requests are refused before anything is made, with the field and the value named."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from wherry_protocol.errors import BadRequest
from wherry_protocol.run_spec import RunSpec, Tmpfs, Ulimit, Volume
from wherryd.containers.config import Config, check_spec, resolve, signal_number
from wherryd.containers.mountpoints import bind, check_sources
from wherryd.images.reference import ImageConfig, RootImage

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = RootImage(reference="i", digest=None, layers=("/x",), binds=(), config=ImageConfig())


def spec(**fields: Any) -> RunSpec:
    return RunSpec(**{"image": "host", "command": ("true",), **fields})


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"image": ""}, "image"),
        ({"name": "-x"}, "name"),
        ({"name": "a" * 129}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"command": ("a\0b",)}, "NUL"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": "x\0"}}, "NUL"),
        ({"labels": {"": "x"}}, "label"),
        ({"workdir": "relative"}, "workdir"),
        ({"user": "a b"}, "user"),
        ({"user": "root\n"}, "user"),
        ({"user": "4294967296"}, "4294967296"),
        ({"user": "4294967295"}, "4294967295"),
        ({"user": "-1"}, "-1"),
        ({"user": "+0"}, "+0"),
        ({"user": "0:+0"}, "+0"),
        ({"user": "a:b:c"}, "user"),
        ({"user": "a:"}, "user"),
        ({"user": ":a"}, "user"),
        ({"hostname": "-x"}, "hostname"),
        ({"hostname": "a" * 64}, "hostname"),
        ({"hostname": "a\nb"}, "hostname"),
        ({"stop_signal": "SIGNOPE"}, "signal"),
        ({"stop_signal": "0"}, "signal"),
        ({"stop_signal": "65"}, "signal"),
        ({"stop_signal": "_DFL"}, "signal"),
        ({"tty_size": (1, 70000)}, "tty_size"),
        ({"ulimits": (Ulimit(name="bogus", soft=1, hard=1),)}, "bogus"),
        ({"ulimits": (Ulimit(name="nofile", soft=2, hard=1),)}, "above the hard limit"),
        ({"ulimits": (Ulimit(name="nofile", soft=-1, hard=1),)}, "above the hard limit"),
        ({"ulimits": (Ulimit(name="nofile", soft=-2, hard=1),)}, "out of range"),
        ({"volumes": (Volume(source="/etc", target="x"),)}, "not absolute"),
        ({"volumes": (Volume(source="/etc", target="/"),)}, "root"),
        ({"volumes": (Volume(source="/etc", target="//"),)}, "root"),
        ({"volumes": (Volume(source="/etc", target="/a/.."),)}, "'..'"),
        ({"volumes": (Volume(source="/etc", target="/proc"),)}, "/proc"),
        ({"volumes": (Volume(source="/etc", target="//proc/x"),)}, "/proc"),
        ({"volumes": (Volume(source="/etc", target="/./sys/"),)}, "/sys"),
        ({"volumes": (Volume(source="/etc", target="/dev/shm"),)}, "/dev"),
        ({"volumes": (Volume(source="./name", target="/a"),)}, "neither an absolute path nor"),
        ({"volumes": (Volume(source="a/b", target="/a"),)}, "neither an absolute path nor"),
        ({"volumes": (Volume(source="/etc", target="/a", copy=False),)}, "never filled"),
        ({"volumes": (Volume(source="name", target="/a", recursive=False),)}, "host paths only"),
        ({"volumes": (Volume(source="name", target="/a", propagation="rslave"),)}, "host paths only"),
        ({"volumes_from": ("web:rx",)}, "volumes from"),
        ({"volumes_from": (":ro",)}, "volumes from"),
        ({"volumes": (Volume(source="/etc", target="/a"), Volume(source="/var", target="/a/"))}, "twice"),
        ({"tmpfs": (Tmpfs(target="/dev"),)}, "/dev"),
        ({"tmpfs": (Tmpfs(target="/t", size=0),)}, "size"),
        ({"tmpfs": (Tmpfs(target="/t", mode=0o10000),)}, "mode"),
    ],
)
def test_bad_request_names_what_is_wrong(fields: dict[str, Any], word: str) -> None:
    """Each refusal is one line with the culprit in it."""
    with pytest.raises(BadRequest) as caught:
        check_spec(spec(**fields))
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_good_requests_pass() -> None:
    """The C original's showcase and unusual but right values."""
    check_spec(
        spec(volumes=(Volume(source="/etc", target="/ro_dir", read_only=True),), env={"A": "b=c", "E": ""})
    )
    check_spec(spec(user="4294967294:0", hostname="a.b-c", stop_signal="rtmin+3", workdir="/a/../b"))
    check_spec(
        spec(volumes=(Volume(source="/etc", target="/procedures"), Volume(source="/etc", target="/devel")))
    )


def test_sources_are_looked_at_as_they_really_are(tmp_path: Path) -> None:
    """A missing source, wherry's own directory, and a link into it are refused; a parent of it is not."""
    own = tmp_path / "state"
    own.mkdir()
    (tmp_path / "link").symlink_to(own)
    for source in (tmp_path / "missing", own, own / ".", tmp_path / "link"):
        with pytest.raises(BadRequest):
            check_sources((Volume(source=str(source), target="/a"),), (own,))
    check_sources((Volume(source=str(tmp_path), target="/a"),), (own,))


def test_signals_by_name_and_number() -> None:
    """As kill(1) and docker."""
    assert signal_number("TERM") == signal_number("sigterm") == signal_number("15") == signal.SIGTERM
    assert signal_number("RTMIN+1") == signal.SIGRTMIN + 1
    assert signal_number("SIGRTMAX-1") == signal.SIGRTMAX - 1


def test_command_line_is_composed_as_docker_does() -> None:
    """The caller's entrypoint drops the image's command; an empty one clears the image's."""
    config = ImageConfig(entrypoint=("/e",), cmd=("c",), env=("A=1", "B=2"), working_dir="/w", user="u")
    image = RootImage(reference="i", digest=None, layers=("/x",), binds=(), config=config)

    def args(**fields: Any) -> tuple[str, ...]:
        return resolve(RunSpec(image="i", **fields), image, "0" * 64).args

    assert args() == ("/e", "c")
    assert args(command=("x",)) == ("/e", "x")
    assert args(entrypoint=("/n",)) == ("/n",)
    assert args(entrypoint=(), command=("x",)) == ("x",)
    with pytest.raises(BadRequest):
        args(entrypoint=())
    made = resolve(RunSpec(image="i", env={"B": "3"}, tty=True), image, "0" * 64)
    assert made.env["A"] == "1"
    assert made.env["B"] == "3"
    assert made.env["TERM"] == "xterm"
    assert made.workdir == "/w"
    assert made.user == "u"
    assert made.hostname == "0" * 12


def test_nothing_to_run_is_an_error() -> None:
    """An image without a default command needs one."""
    with pytest.raises(BadRequest, match="no default command"):
        resolve(RunSpec(image="i"), IMAGE, "0" * 64)


def test_config_survives_the_database() -> None:
    """What was fixed at create is read back equal."""
    made = resolve(
        spec(volumes=(Volume(source="/etc", target="/a"),), ulimits=(Ulimit(name="core", soft=0, hard=0),)),
        IMAGE,
        "a" * 64,
        (bind(Volume(source="/etc", target="/a", read_only=True)),),
    )
    assert Config.from_json(made.to_json()) == made
