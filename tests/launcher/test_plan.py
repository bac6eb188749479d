"""The plan as a value: frozen, printable, the same after the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry_protocol.run_spec import Tmpfs, Ulimit, Volume
from wherryd.launcher import wire
from wherryd.launcher.plan import Mount, Plan

if TYPE_CHECKING:
    from launching import Ground


@pytest.fixture
def plan(ground: Ground) -> Plan:
    return ground.plan(
        "sh",
        "-c",
        "true",
        env={"SECRET": "value"},
        volumes=(Volume(source="/src", target="/dst", read_only=True),),
        tmpfs=(Tmpfs(target="/scratch", size=4096),),
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        tty=True,
        tty_size=(24, 80),
        read_only=True,
    )


def test_plan_is_the_same_after_the_wire(plan: Plan) -> None:
    assert Plan.from_wire(wire.unpack(wire.pack(*plan.to_wire()))) == plan


def test_description_has_a_numbered_line_for_every_step_and_no_secret(plan: Plan) -> None:
    lines = plan.describe().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    for words in (
        "mount bind /src on /dst (nosuid,nodev,ro)", "mount tmpfs tmpfs on /scratch", "size=4096",
        "root read-only",
        "mask /proc/kcore", "read-only /proc/sys", "device /dev/null c 1:3", "rlimit nofile 1:2", "24x80",
        "no_new_privs", "exec 'sh' '-c' 'true'", "SECRET",
    ):  # fmt: skip
        assert any(words in line for line in lines), words
    assert "value" not in plan.describe()


def test_plan_cannot_be_changed(plan: Plan) -> None:
    with pytest.raises(AttributeError, match="frozen"):
        plan.user = "root"  # type: ignore[misc]


def test_plan_with_a_field_missing_or_unknown_is_refused() -> None:
    with pytest.raises(TypeError, match="destination"):
        Mount(destination="/x", type="bind", source="/y")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="options"):
        Mount(destination="/x", type="bind", source="/y", options=(), colour="red")  # type: ignore[call-arg]
