"""`wherry events`: its forms, its filters, resuming by number, and what it refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from wherry.cli.events import event_line
from wherry.testing import FakeSupervisor
from wherry_protocol.event_log import Event, Events, Missed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z #\d+ container die [0-9a-f]{64} "
    r"\(execDuration=\d+, exitCode=4, image=\S+, name=told, tier=a\)"
)


@pytest.fixture
def place(wherryd: Daemon, busybox: Path) -> int:
    """The number of the last event before a container's life."""
    with wherryd.client() as client:
        before = client.last_event()
    wherryd.cli("run", "--rm", "--name", "told", "--label", "tier=a", busybox, "sh", "-c", "exit 4")
    return before


def test_a_line_is_dockers_with_the_number(wherryd: Daemon, place: int) -> None:
    done = wherryd.cli("events", "--since", f"seq:{place}", "--until", "0s", "-f", "event=die")
    assert (done.exit_code, done.stderr) == (0, "")
    assert LINE.fullmatch(done.stdout.strip()), done.stdout


def test_json_has_dockers_fields_and_the_number(wherryd: Daemon, busybox: Path, place: int) -> None:
    done = wherryd.cli("events", "--since", f"seq:{place}", "--until", "0s", "--format", "json")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["Action"] for each in documents] == ["create", "attach", "start", "die", "destroy"]
    assert [each["seq"] for each in documents] == list(range(place + 1, place + 6))
    die = documents[3]
    assert die["Type"] == "container"
    assert die["status"] == "die"
    assert die["id"] == die["Actor"]["ID"]
    assert die["from"] == str(busybox)
    assert die["Actor"]["Attributes"]["exitCode"] == "4"
    assert die["timeNano"] // 1_000_000_000 == die["time"]


def test_a_template_names_fields(wherryd: Daemon, place: int) -> None:
    form = "{{.seq}} {{.Action}} {{.Actor.Attributes.name}}"
    filters = ("-f", "event=create", "-f", "event=start", "-f", "container=told", "-f", "label=tier=a")
    done = wherryd.cli("events", "--since", f"seq:{place}", "--until", "0s", *filters, "--format", form)
    assert done.stdout == f"{place + 1} create told\n{place + 3} start told\n"


def test_since_a_time_and_nothing_after_until(wherryd: Daemon, place: int) -> None:
    done = wherryd.cli("events", "--since", "1m", "--until", "0s", "-f", "container=told", "-f", "event=die")
    assert done.stdout.splitlines()[-1].split()[1] == f"#{place + 4}"
    assert wherryd.cli("events", "--since", "1m", "--until", "50s").exit_code == 0


def test_events_come_as_they_happen(wherryd: Daemon, busybox: Path) -> None:
    """A line for each, flushed, and ctrl-C ends it."""
    with wherryd.client() as client:
        place = client.last_event()
    with wherryd.popen("events", "--since", f"seq:{place}", "--format", "{{.Action}}") as events:
        wherryd.cli("create", "--name", "live", busybox, "true")
        assert events.stdout is not None
        assert events.stdout.readline() == b"create\n"
        wherryd.cli("rm", "live")
        assert events.stdout.readline() == b"destroy\n"
        events.terminate()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--since", "yesterday"), "--since: 'yesterday' is no time"),
        (("--since", "seq:x"), "--since: 'seq:x' is no time"),
        (("--until", "soon"), "--until: 'soon' is no time"),
        (("--since", "seq:999999999"), "events after 999999999: the newest one is"),
        (("-f", "colour=red"), "filter 'colour' is unknown (known: container, event, type"),
        (("-f", "type=pod"), "filter type=pod is unknown (known: container, image, volume"),
        (("-f", "container"), "--filter 'container': expected KEY=VALUE"),
        (("--format", "{{range .}}"), "--format: {{range .}} is not understood"),
        (("web",), "unrecognized arguments: web"),
    ],
)
def test_bad_input_is_one_line(wherryd: Daemon, args: tuple[str, ...], text: str) -> None:
    done = wherryd.cli("events", *args)
    assert (done.exit_code, done.stdout) == (125, "")
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_missed_events_are_told_in_each_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an object of its own in json; else on standard error, so that a script's lines stay lines."""
    event = Event(seq=17, time=1, type="container", action="start", actor="c1", attributes={"name": "web"})

    def answer(_call: Events) -> Iterator[Event | Missed]:
        yield Missed(first=5, last=16)
        yield event

    from support.daemon import Daemon

    with FakeSupervisor() as fake:
        fake.on(Events, answer)
        daemon = Daemon()
        monkeypatch.setattr(daemon, "run_dir", fake.run_dir)
        told = daemon.cli("events", "--format", "json")
        assert told.stdout.splitlines()[0] == '{"missed": 12, "from": 5, "to": 16}'
        assert json.loads(told.stdout.splitlines()[1])["seq"] == 17
        for form, line in (((), event_line(event)), (("--format", "{{.seq}}"), "17")):
            told = daemon.cli("events", *form)
            assert told.stdout == line + "\n"
            assert told.stderr == "wherry: missed 12 events, #5 to #16: they are not kept any more\n"
        daemon.root.rmdir()


def test_what_a_terminal_would_obey_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    event = Event(seq=1, time=1, type="container", action="start", actor="c1", attributes={"a": "\x1b[31m\n"})
    assert event_line(event).endswith(r"(a=\x1b[31m\n)")
