"""What people read and write: docker's words, templates, sizes, times, option values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import BadRequest, ExitStatus, ImageSummary, Output, Progress, RunSpec, Tmpfs, Ulimit, Volume
from wherry.cli import mounts, options
from wherry.cli.keys import DetachKeys
from wherry.cli.logs import LineStamper, parse_tail
from wherry.cli.progress import progress_line
from wherry.cli.table import print_table
from wherry.cli.template import compile_template
from wherry.docker_form import container_document, container_row
from wherry.human import human_duration, human_size, parse_size, parse_time
from wherry.image_form import image_rows
from wherry.rfc3339 import rfc3339, rfc3339_seconds
from wherry_protocol.container_state import ContainerDetails, ContainerSummary, MountPoint

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
DAY = 86400


def summary(**fields: Any) -> ContainerSummary:
    base: dict[str, Any] = {
        "id": "ab" * 32, "name": "web", "image": "host", "command": ("sleep", "60"), "state": "running",
        "created_at": NOW - 120, "started_at": NOW - 3,
    }  # fmt: skip
    return ContainerSummary(**{**base, **fields})


def details(spec: RunSpec, **fields: Any) -> ContainerDetails:
    return ContainerDetails(
        summary=summary(**fields), spec=spec, path="/bin/sh", args=("-c", "x"), env={"A": "1"}, workdir="/",
        user="", hostname="h", stop_signal="SIGTERM", pid=42, image_digest=None, log_path="/l/log",
        directory="/d", cgroup_path="/c",
        mounts=tuple(
            MountPoint(type="bind", source=each.source, target=each.target, read_only=each.read_only)
            for each in spec.volumes
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "Up 3 seconds"),
        ({"state": "paused"}, "Up 3 seconds (Paused)"),
        ({"state": "created"}, "Created"),
        ({"state": "exited", "finished_at": NOW - 5, "exit": ExitStatus(code=0)}, "Exited (0) 5 seconds ago"),
        ({"state": "exited", "finished_at": NOW - 9, "exit": ExitStatus(signal=9)},
         "Exited (137) 9 seconds ago"),
        (
            {"state": "exited", "finished_at": NOW - 60, "exit": ExitStatus(error="lost")},
            "Exited (unknown) About a minute ago",
        ),
        ({"state": "restarting", "finished_at": NOW, "exit": ExitStatus(code=1)},
         "Restarting (1) Less than a second ago"),
        ({"log_trouble": "disk full"}, "Up 3 seconds (log stuck: disk full)"),
        (
            {"state": "restarting", "exit": ExitStatus(), "finished_at": NOW - 4, "next_start_at": NOW + 9},
            "Restarting (unknown) 4 seconds ago, next try in 9 seconds",
        ),
        (
            {"state": "restarting", "exit": ExitStatus(), "finished_at": NOW - 70, "next_start_at": NOW - 1},
            "Restarting (unknown) About a minute ago, next try now",
        ),
    ],
)  # fmt: skip
def test_status_is_dockers(fields: dict[str, Any], says: str) -> None:
    assert container_row(summary(**fields), NOW)["Status"] == says


def test_a_row_has_dockers_keys_and_cuts() -> None:
    words = ("sh", "-c", "echo a long command")
    row = container_row(summary(command=words, labels={"a": "1", "b": ""}), NOW)
    assert row == {
        "ID": "abababababab", "Image": "host", "Command": '"sh -c echo a long c…"',
        "CreatedAt": "2027-01-15T07:58:00.000000000Z", "RunningFor": "2 minutes ago",
        "Status": "Up 3 seconds", "State": "running", "Names": "web", "Labels": "a=1,b=",
        "Mounts": "", "Ports": "", "Networks": "", "OOMKilled": False,
        "Requires": "", "NextStartAt": "",
    }  # fmt: skip
    whole = container_row(summary(command=words), NOW, whole=True)
    assert (whole["ID"], whole["Command"]) == ("ab" * 32, '"sh -c echo a long command"')


def test_a_command_cannot_speak_to_the_terminal() -> None:
    """Escape sequences in a command or an image's name are shown, not obeyed."""
    row = container_row(summary(command=("\x1b[2J", "\udcff\n")), NOW, whole=True)
    assert row["Command"] == '"\\x1b[2J \\udcff\\n"'


def test_a_table_shows_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["NAME", "X"], ["a\x1b[2J\nb\udcff", "y"]])
    assert capsys.readouterr().out.splitlines()[1].split() == ["a\\x1b[2J\\nb\\udcff", "y"]


def test_inspect_is_dockers_document() -> None:
    spec = RunSpec(
        image="host", command=("-c", "x"), entrypoint=("/bin/sh",), env={"A": "1"}, labels={"k": "v"},
        volumes=(Volume(source="/s", target="/t", read_only=True), Volume(source="/u", target="/w")),
        tmpfs=(Tmpfs(target="/tmp", size=1024, mode=0o700),),
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        read_only=True, init=True, auto_remove=True, stop_timeout=2.5, network="none",
    )  # fmt: skip
    document = json.loads(json.dumps(container_document(details(spec))))
    assert (document["Id"], document["Name"], document["LogPath"]) == ("ab" * 32, "/web", "/l/log")
    assert (document["Path"], document["Args"]) == ("/bin/sh", ["-c", "x"])
    state = document["State"]
    assert (state["Status"], state["Running"], state["Pid"], state["ExitCode"]) == ("running", True, 42, 0)
    assert state["StartedAt"] == "2027-01-15T07:59:57.000000000Z"
    assert state["FinishedAt"] == "0001-01-01T00:00:00Z"
    host = document["HostConfig"]
    assert host["Binds"] == ["/s:/t:ro", "/u:/w:rw"]
    assert (host["NetworkMode"], host["Memory"], host["AutoRemove"]) == ("none", 0, True)
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}]
    assert host["Tmpfs"] == {"/tmp": "rw,noexec,mode=700,size=1024"}
    assert [(m["Type"], m["Destination"], m["RW"]) for m in document["Mounts"]] == [
        ("bind", "/t", False), ("bind", "/w", True), ("tmpfs", "/tmp", True),
    ]  # fmt: skip
    config = document["Config"]
    assert (config["Env"], config["Cmd"], config["Entrypoint"]) == (["A=1"], ["-c", "x"], ["/bin/sh"])
    assert (config["Labels"], config["StopTimeout"]) == ({"k": "v"}, 2.5)
    assert list(document["NetworkSettings"]["Networks"]) == ["none"]


@pytest.mark.parametrize(
    ("status", "code", "oom"),
    [
        (ExitStatus(code=3, oom_killed=False), 3, False),
        (ExitStatus(signal=9, oom_killed=True), 137, True),
        (ExitStatus(error="lost"), None, None),
    ],
)
def test_an_exit_is_never_guessed(status: ExitStatus, code: int | None, oom: bool | None) -> None:
    """Unknown is null, not 0."""
    state = container_document(details(RunSpec(image="host"), state="exited", exit=status))["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (code, oom)


def test_an_image_has_a_row_for_each_name() -> None:
    image = ImageSummary(
        names=("a", "b"),
        digest="sha256:" + "12" * 32,
        created_at=NOW - DAY,
        size=4_300_000,
        files=7,
        source="/x",
    )
    rows = image_rows(image, NOW)
    assert [(row["Name"], row["ID"], row["Size"], row["CreatedSince"]) for row in rows] == [
        ("a", "121212121212", "4.3MB", "24 hours ago"), ("b", "121212121212", "4.3MB", "24 hours ago"),
    ]  # fmt: skip
    assert [row["Name"] for row in image_rows(image.replace(names=()), NOW)] == ["<none>"]


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (-5, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (59, "59 seconds"),
        (60, "About a minute"), (119, "About a minute"), (120, "2 minutes"), (3599, "59 minutes"),
        (3600, "About an hour"), (2 * 3600, "2 hours"), (47 * 3600, "47 hours"), (48 * 3600, "2 days"),
        (13 * DAY, "13 days"), (14 * DAY, "2 weeks"), (59 * DAY, "8 weeks"), (61 * DAY, "2 months"),
        (729 * DAY, "24 months"), (731 * DAY, "2 years"),
    ],
)  # fmt: skip
def test_durations_are_in_dockers_words(seconds: float, says: str) -> None:
    assert human_duration(seconds) == says


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (12_345, "12.3kB"),
        (4.3e6, "4.3MB"),
        (5e9, "5GB"),
        (2e12, "2TB"),
    ],
)
def test_sizes_are_in_dockers_units(size: float, says: str) -> None:
    assert human_size(size) == says


def test_sizes_are_read_as_docker_reads_them() -> None:
    """`512m` is not 512 bytes, and what is over 32 bits is a size like any other."""
    read = [parse_size(text, "-m") for text in ("4096", "64k", "512m", "1G", "1gib", "1.5g", "4294967296")]
    assert read == [4096, 65536, 512 << 20, 1 << 30, 1 << 30, 3 << 29, 1 << 32]
    for text in ("", "m", "-1", "1.g", "1x", "0x10", "１"):
        with pytest.raises(BadRequest, match=r"-m: .* is no size"):
            parse_size(text, "-m")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1769860800", 1769860800.0), ("1769860800.5", 1769860800.5), ("10m", NOW - 600),
        ("1h30m", NOW - 5400), ("1.5s", NOW - 1.5), ("2026-01-31T12:00:00Z", 1769860800.0),
        ("2026-01-31T13:00:00+01:00", 1769860800.0), ("2026-01-31T12:00:00.25Z", 1769860800.25),
    ],
)  # fmt: skip
def test_times_are_read_in_every_form(text: str, seconds: float) -> None:
    assert parse_time(text, NOW, "--since") == seconds


@given(st.text(max_size=10))
def test_no_time_is_a_clear_error(text: str) -> None:
    try:
        assert isinstance(parse_time(text, NOW, "--since"), float)
    except BadRequest as error:
        assert "--since: " in str(error)  # noqa: PT017 - both ends are right, depending on the text


@given(st.integers(0, 4 * 10**18))
def test_rfc3339_keeps_every_nanosecond(time: int) -> None:
    """Nine digits, whatever the time is."""
    text = rfc3339(time)
    assert text.endswith(f".{time % 10**9:09d}Z")
    assert parse_time(text[:19] + "Z", NOW, "x") == time // 10**9


def test_a_time_that_has_not_come_is_dockers() -> None:
    assert rfc3339_seconds(None) == "0001-01-01T00:00:00Z"


DOCUMENT = {"Name": "/web", "State": {"ExitCode": None, "Running": True, "Pid": 4}, "Args": ["a", "b"]}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}}", "/web"),
        ("{{ .State.Pid }}\\t{{.State.Running}}", "4\ttrue"),
        ("{{.State.ExitCode}}", "<no value>"),
        ("{{json .State}}", '{"ExitCode": null, "Running": true, "Pid": 4}'),
        ("{{json .Name}} {{.Args}}", '"/web" ["a", "b"]'),
        ("{{json .}}", json.dumps(DOCUMENT)),
        ("no field\\n", "no field\n"),
        ("", ""),
    ],
)
def test_templates_name_fields(template: str, text: str) -> None:
    assert compile_template(template).render(DOCUMENT) == text


@pytest.mark.parametrize(
    "template",
    ["{{.Nothing}}", "{{.Name.First}}", "{{.State.Nope}}"],
)
def test_a_field_that_is_not_there_is_named(template: str) -> None:
    with pytest.raises(BadRequest, match=template.strip("{}").replace(".", r"\.")):
        compile_template(template).render(DOCUMENT)


@pytest.mark.parametrize(
    "template", ["{{range .Mounts}}x{{end}}", "{{.Name", "Name}}", "{{}}", "{{Name}}", "{{.Name | upper}}"]
)
def test_a_template_that_is_not_understood_is_refused(template: str) -> None:
    with pytest.raises(BadRequest, match="--format: "):
        compile_template(template)


class TestOptions:
    """The grammar of option values."""

    def test_volumes(self) -> None:
        assert mounts.volume("/a:/b") == Volume(source="/a", target="/b")
        assert mounts.volume("./a:/b:ro") == Volume(source="./a", target="/b", read_only=True)
        assert mounts.volume("name:/b:nocopy") == Volume(source="name", target="/b", copy=False)
        assert mounts.volume("/b") == Volume(source="", target="/b")
        assert mounts.volume("d/e:/b:rw") == Volume(source="d/e", target="/b")
        for text in ("a", "/a:", ":/b", "/a:b", "/a:/b:rx", "/a:/b:ro:x", "/a:/b:shared", ""):
            with pytest.raises(BadRequest, match="-v "):
                mounts.volume(text)

    def test_tmpfs(self) -> None:
        made = mounts.tmpfs("/t:size=64m,mode=1777,ro,exec,nosuid")
        assert made == Tmpfs(target="/t", size=64 << 20, mode=0o1777, read_only=True, exec=True)
        assert mounts.tmpfs("/t") == Tmpfs(target="/t")
        for text in ("t", "", "/t:size=x", "/t:mode=9", "/t:mode=", "/t:huge"):
            with pytest.raises(BadRequest, match="--tmpfs "):
                mounts.tmpfs(text)

    def test_ulimits(self) -> None:
        assert options.ulimit("nofile=1024:2048") == Ulimit(name="nofile", soft=1024, hard=2048)
        assert options.ulimit("CORE=unlimited") == Ulimit(name="core", soft=-1, hard=-1)
        for text in ("nofile", "nofile=", "nofile=a", "=1", "nofile=1:", "nofile=-2", "nofile=1:2:3"):
            with pytest.raises(BadRequest, match="--ulimit "):
                options.ulimit(text)

    def test_environment(self, tmp_path: Path) -> None:
        """Files first, options over them; a name alone is passed on if we have it; `=` in values stays."""
        file = tmp_path / "env"
        file.write_bytes(b"# note\n\nA=file\nB=b=c \nHOME\nC=\xff\r\n")
        found = options.environment([str(file)], ["A=given", "E=", "GONE"], {"HOME": "/h"})
        assert found == {"A": "given", "B": "b=c ", "HOME": "/h", "C": "\udcff", "E": ""}
        for text in ("", "=x", "A B=1", "A\0=1"):
            with pytest.raises(BadRequest, match="-e "):
                options.environment([], [text], {})
        file.write_text("ok=1\n=x\n")
        with pytest.raises(BadRequest, match=r"env, line 2 '=x'"):
            options.environment([str(file)], [], {})
        with pytest.raises(BadRequest, match="No such file"):
            options.environment([str(tmp_path / "missing")], [], {})

    def test_entry_point_and_labels(self) -> None:
        assert [options.entrypoint(value) for value in (None, "", "sh")] == [None, (), ("sh",)]
        assert options.labels(["a=1", "b", "c=d=e"]) == {"a": "1", "b": "", "c": "d=e"}
        with pytest.raises(BadRequest, match="--label '=x'"):
            options.labels(["=x"])

    def test_tail(self) -> None:
        assert [parse_tail(text) for text in ("all", "0", "12")] == [None, 0, 12]
        for text in ("-1", "x", "", "²"):
            with pytest.raises(BadRequest, match="--tail"):
                parse_tail(text)


@given(st.lists(st.binary(max_size=6)))
def test_keystrokes_pass_unless_they_detach(pieces: list[bytes]) -> None:
    """However they are cut: everything up to ctrl-p ctrl-q goes on, nothing after it."""
    keys, passed = DetachKeys(), b""
    for piece in pieces:
        if not keys.detached:
            passed += keys.feed(piece)
    typed = b"".join(pieces)
    before, combination, _after = typed.partition(b"\x10\x11")
    assert keys.detached == bool(combination)
    assert passed == (before if combination else typed.removesuffix(b"\x10"))


@pytest.mark.parametrize(
    ("pieces", "passed"),
    [([b"\x10", b"\x11"], b""), ([b"a\x10", b"b"], b"a\x10b"), ([b"\x10\x10\x11"], b"\x10")],
)
def test_the_detach_keys_may_come_one_by_one(pieces: list[bytes], passed: bytes) -> None:
    keys = DetachKeys()
    assert b"".join(keys.feed(piece) for piece in pieces) == passed


def test_every_line_of_each_stream_is_stamped_once() -> None:
    """Pieces of a line get one stamp; the streams do not mix; a carriage return starts no line."""
    stamper = LineStamper()

    def stamp(stream: int, time: int, data: bytes) -> bytes:
        return stamper.stamp(Output(stream=stream, time=time, data=data))

    at = [rfc3339(time).encode() + b" " for time in range(4)]
    assert stamp(1, 0, b"a\nb") == at[0] + b"a\n" + at[0] + b"b"
    assert stamp(2, 1, b"e\r\n") == at[1] + b"e\r\n"
    assert stamp(1, 2, b"c\rd\n\n") == b"c\rd\n" + at[2] + b"\n"
    assert stamp(1, 3, b"f") == at[3] + b"f"


def test_progress_says_how_far_and_how_fast() -> None:
    line = progress_line(Progress(phase="extracting", done=6 << 20, total=24 << 20), 2.0)
    assert line == "extracting [######                  ]  25%  6.0/24.0 MiB  3.0 MiB/s"
    assert progress_line(Progress(phase="reading", done=1 << 20, total=0), 0.0) == "reading  1.0 MiB  "
    assert "100%" in progress_line(Progress(phase="x", done=9, total=3), 1.0)
