"""`wherry ps`: which containers, in which order, in which form."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from clikit import detached, names, ok, refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


@pytest.fixture
def zoo(wherryd: Daemon, busybox: Path) -> dict[str, str]:
    """One container of each state; ids by name, oldest first."""
    ids = {
        "made": ok(wherryd, "create", "--name", "made", "--label", "app=web", busybox, "true").strip(),
        "ended": detached(wherryd, "--name", "ended", "--label", "app=db", busybox, "sh", "-c", "exit 3"),
        "cold": detached(wherryd, "--name", "cold", busybox, "sleep", "1000"),
        "warm": detached(wherryd, "--name", "warm", "--label", "app", busybox, "sleep", "1000"),
    }
    ok(wherryd, "pause", "cold")
    ok(wherryd, "wait", "ended")
    return ids


def test_ps_shows_what_runs_newest_first(wherryd: Daemon, zoo: dict[str, str]) -> None:
    assert names(wherryd) == ["warm", "cold"]
    assert names(wherryd, "-a") == ["warm", "cold", "ended", "made"]
    assert names(wherryd, "--all") == names(wherryd, "-a")


def test_the_table(wherryd: Daemon, zoo: dict[str, str], busybox: Path) -> None:
    heading, warm, cold, ended, made = ok(wherryd, "ps", "-a").splitlines()
    columns = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert re.split(r" {2,}", heading) == columns
    cells = re.split(r" {2,}", warm)
    assert cells[0] == zoo["warm"][:12]
    assert cells[1:3] == [str(busybox), '"sleep 1000"']
    assert re.fullmatch(r"(Less than a second|\d+ seconds?) ago", cells[3]), cells
    assert re.fullmatch(r"Up (Less than a second|\d+ seconds?)", cells[4]), cells
    assert cells[5] == "warm"
    assert "(Paused)" in cold
    assert re.search(r"Exited \(3\) (Less than a second|\d+ seconds?) ago", ended)
    assert "Created" in made
    assert heading.index("NAMES") == warm.index("warm"), "the columns are not lined up"


def test_an_empty_table_is_its_heading(wherryd: Daemon) -> None:
    assert ok(wherryd, "ps").startswith("CONTAINER ID")
    assert ok(wherryd, "ps", "-q") == ""
    assert ok(wherryd, "ps", "--format", "json") == ""


def test_quiet_and_whole_ids(wherryd: Daemon, zoo: dict[str, str]) -> None:
    assert ok(wherryd, "ps", "-q").split() == [zoo["warm"][:12], zoo["cold"][:12]]
    assert ok(wherryd, "ps", "-aq", "--no-trunc").split() == [*reversed(zoo.values())]


def test_long_commands_are_cut_unless_whole(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "create", "--name", "long", busybox, "echo", "x" * 100, "a\nb\x1b[31m")
    assert "x" * 100 not in ok(wherryd, "ps", "-a")
    whole = ok(wherryd, "ps", "-a", "--no-trunc")
    assert "x" * 100 in whole
    assert "\x1b" not in whole, "a command can send escapes to the terminal of who looks at it"
    assert len(whole.splitlines()) == 2, "a newline in a command breaks the table"


FILTERS: list[tuple[list[str], list[str]]] = [
    (["name=ar"], ["warm"]),
    (["name=warm", "name=cold"], ["warm", "cold"]),
    (["status=exited"], ["ended"]),
    (["status=created"], ["made"]),
    (["status=paused"], ["cold"]),
    (["status=running"], ["warm"]),
    (["status=created", "status=paused"], ["cold", "made"]),
    (["exited=3"], ["ended"]),
    (["exited=0"], []),
    (["label=app"], ["warm", "ended", "made"]),
    (["label=app=web"], ["made"]),
    (["label=app", "status=exited"], ["ended"]),
]


def test_filters(wherryd: Daemon, zoo: dict[str, str]) -> None:
    for filters, expected in FILTERS:
        flags = [word for each in filters for word in ("--filter", each)]
        assert names(wherryd, "-a", *flags) == expected, f"--filter {' --filter '.join(filters)}"


def test_filters_by_id_and_image(wherryd: Daemon, zoo: dict[str, str], busybox: Path) -> None:
    assert names(wherryd, "-a", "-f", f"id={zoo['made'][:10]}") == ["made"]
    assert len(names(wherryd, "-a", "-f", f"ancestor={busybox}")) == len(zoo)
    assert names(wherryd, "-f", "status=exited") == ["ended"], "a status filter implies -a"


def test_json_is_one_object_a_line(wherryd: Daemon, zoo: dict[str, str], busybox: Path) -> None:
    rows = [json.loads(line) for line in ok(wherryd, "ps", "-a", "--format", "json").splitlines()]
    assert [row["Names"] for row in rows] == ["warm", "cold", "ended", "made"]
    row = rows[-1]
    assert {"ID", "Image", "Command", "CreatedAt", "RunningFor", "Status", "State", "Labels"} <= set(row)
    assert (row["ID"], row["State"], row["Labels"]) == (zoo["made"][:12], "created", "app=web")


def test_templates(wherryd: Daemon, zoo: dict[str, str]) -> None:
    printed = ok(wherryd, "ps", "-a", "--format", r"{{.Names}}\t{{ .State }}|{{json .Labels}}")
    assert printed.splitlines()[-1] == 'made\tcreated|"app=web"'
    table = ok(wherryd, "ps", "--format", "table {{.Names}}\t{{.State}}").splitlines()
    assert [line.split() for line in table] == [["NAMES", "STATE"], ["warm", "running"], ["cold", "paused"]]


@pytest.mark.parametrize("flag", ["--format", "--filter"])
def test_what_ps_does_not_know(wherryd: Daemon, zoo: dict[str, str], flag: str) -> None:
    unknown = {
        "--format": ["{{.Nope}}", "{{.Names", "{{range .}}x{{end}}"],
        "--filter": ["nope=1", "status=dead", "exited=x", "name"],
    }
    for text in unknown[flag]:
        assert flag.removeprefix("--") in refused(wherryd, "ps", "-a", flag, text), text
