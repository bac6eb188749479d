"""`wherry doctor` on this machine, and on what a mount, a limit or a rule makes of it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.disk import tmpfs
from support.leaks import snapshot, wait_clean

if TYPE_CHECKING:
    from support.daemon import Daemon

    Findings = list[dict[str, str]]

WHERRY = str(Path(sys.executable).with_name("wherry"))
ENVIRONMENT = {"PATH": os.environ["PATH"], "WHERRY_NO_AUTOSTART": "1"}


def doctor(place: Path, *, within: tuple[str, ...] = (), run_dir: Path | None = None) -> tuple[int, Findings]:
    """Return how it ended for directories in `place`, and what it found; `within` is a command before it."""
    command = [*within, WHERRY, "--state-dir", str(place), "--run-dir", str(run_dir or place / "run")]
    done = subprocess.run(
        [*command, "doctor", "--format", "json"],
        check=False, capture_output=True, text=True, timeout=60, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.stderr == "", done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def of(findings: Findings, subject: str) -> dict[str, str]:
    """Return the worst finding of a subject."""
    order = ["problem", "warning", "ok"]
    return min(
        (each for each in findings if each["subject"] == subject), key=lambda f: order.index(f["level"])
    )


def shell(script: str, *flags: str) -> tuple[str, ...]:
    """Return the command that does a script in new namespaces before it executes what follows."""
    return ("unshare", *flags, "sh", "-ec", f'{script}; exec "$@"', "sh")


def test_a_machine_that_runs_our_tests_has_no_problem_and_is_left_as_it_was(tmp_path: Path) -> None:
    before = snapshot()
    code, findings = doctor(tmp_path / "state")
    assert (code, [each for each in findings if each["level"] == "problem"]) == (0, [])
    subjects = {each["subject"] for each in findings}
    assert subjects >= {"kernel", "cgroups", "disk", "overlayfs", "state", "networks", "limits", "supervisor"}
    assert list(tmp_path.iterdir()) == []
    assert wait_clean(before) == []


def test_a_running_supervisor_is_asked_and_its_state_read(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.run(spec(busybox))
        pid = client.ping().pid
    code, findings = doctor(wherryd.state_dir, run_dir=wherryd.run_dir)
    assert code == 0
    assert of(findings, "supervisor")["text"].startswith(f"pid {pid}, version ")
    assert "is whole: schema " in of(findings, "state")["text"]


def spec(image: Path) -> object:
    from wherry import RunSpec

    return RunSpec(image=str(image), command=("true",))


def test_the_table_says_what_to_do(tmp_path: Path) -> None:
    command = [WHERRY, "--state-dir", "/proc/none", "--run-dir", str(tmp_path), "doctor"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    at = next(
        number for number, line in enumerate(lines) if line.startswith("problem  overlayfs    /proc takes")
    )
    assert lines[at + 1] == f"{'':<22}→ choose another --state-dir"
    assert lines[-1].startswith("Containers cannot run as they should: ")
    assert all(len(line) < 200 for line in lines)


def test_a_full_disk_is_a_problem_and_a_small_one_a_warning(tmp_path: Path) -> None:
    for size, level in (("32m", "problem"), ("512m", "warning")):
        with tmpfs(tmp_path / size, f"size={size}") as place:
            code, findings = doctor(place)
            assert (of(findings, "disk")["level"], code) == (level, int(level == "problem"))


def test_a_read_only_directory_is_a_problem(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "place", "ro") as place:
        code, findings = doctor(place, run_dir=tmp_path / "run")
    assert code == 1
    assert of(findings, "directories")["text"] == f"{place} is read-only for us"


def test_a_file_system_without_overlays_is_a_problem(tmp_path: Path) -> None:
    """An overlay's upper directory cannot be on an overlay."""
    layers = [tmp_path / name for name in ("lower", "upper", "work", "place")]
    for each in layers:
        each.mkdir()
    lower, upper, work, place = layers
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", place], check=True)
    try:
        code, findings = doctor(place, run_dir=tmp_path / "run")
    finally:
        subprocess.run(["umount", place], check=True)
    assert code == 1
    assert f"the file system of {place} (overlay) carries none" in of(findings, "overlayfs")["text"]


def test_directories_of_others_and_open_ones_are_told(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    assert "has mode 755" in of(doctor(place)[1], "directories")["text"]
    os.chown(place, 1000, 1000)
    code, findings = doctor(place)
    assert (code, of(findings, "directories")["level"]) == (1, "problem")


def test_damaged_foreign_and_newer_states_are_told(tmp_path: Path) -> None:
    database = tmp_path / "state.db"
    database.write_bytes(b"not a database at all" * 1000)
    code, findings = doctor(tmp_path)
    assert (code, of(findings, "state")["level"]) == (1, "problem")
    assert "rebuilds it from the record files" in of(findings, "state")["advice"]
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE containers (id TEXT); PRAGMA user_version = 999")
    assert "has schema 999" in of(doctor(tmp_path)[1], "state")["text"]
    database.unlink()
    (tmp_path / "aside/20260101T000000Z").mkdir(parents=True)
    code, findings = doctor(tmp_path)
    assert (code, of(findings, "state")["level"]) == (0, "warning")


def test_controllers_that_are_nowhere_are_named(tmp_path: Path) -> None:
    """With every hierarchy unmounted there is v2 to be mounted, and no controller in the v1 ones."""
    script = "grep -E ' - cgroup2? ' /proc/self/mountinfo | cut -d' ' -f5 | sort -r | xargs -n1 umount -l"
    code, findings = doctor(tmp_path, within=shell(script, "--mount"))
    assert code == 0
    told = {each["text"] for each in findings if each["subject"] == "cgroups"}
    assert "no controller pids: --pids-limit is refused: a fork bomb is not contained" in told
    assert f"v2 is mounted nowhere: a supervisor mounts it at {tmp_path}/run/cgroup2" in told


def test_read_only_control_groups_are_a_problem(tmp_path: Path) -> None:
    script = (
        "mountpoint=$(grep ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f5 | head -n1); "
        'mount -o remount,bind,ro "$mountpoint"'
    )
    code, findings = doctor(tmp_path, within=shell(script, "--mount"))
    assert (code, of(findings, "cgroups")["level"]) == (1, "problem")
    assert "is read-only" in of(findings, "cgroups")["text"]


def test_few_descriptors_are_told_in_containers(tmp_path: Path) -> None:
    code, findings = doctor(tmp_path, within=("prlimit", "--nofile=256:256"))
    assert code == 0
    assert of(findings, "limits")["text"] == "256 descriptors are enough for some 32 containers"


def test_who_drops_forwarded_packets_is_named(tmp_path: Path) -> None:
    chain = "add chain ip others forwarded { type filter hook forward priority 0; policy drop; }"
    script = f"nft add table ip others; nft '{chain}'"
    code, findings = doctor(tmp_path, within=shell(script, "--net"))
    assert code == 0
    assert "chain ip others forwarded drops forwarded packets" in of(findings, "networks")["text"]


def test_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    """A user namespace that maps nobody: uid 65534 who owns the interpreter all the same."""
    code, findings = doctor(tmp_path, within=("unshare", "--user"))
    assert (code, [each["subject"] for each in findings]) == (1, ["user"])
    assert of(findings, "user")["advice"] == "use sudo"


def test_a_locked_namespace_is_a_problem(tmp_path: Path) -> None:
    """The sysctl is of the user namespace: of one that we make for it."""
    script = "echo 3 >/proc/sys/user/max_net_namespaces"
    code, findings = doctor(tmp_path, within=shell(script, "--user", "--map-root-user", "--mount"))
    assert code == 1
    assert "user.max_net_namespaces is 3" in of(findings, "namespaces")["text"]


@pytest.mark.parametrize(("change", "level"), [("", "ok"), ("# mine\n", "warning")])
def test_a_unit_of_another_release_is_told(tmp_path: Path, change: str, level: str) -> None:
    units = tmp_path / "etc/systemd/system"
    flags = ["--state-dir", str(tmp_path / "s"), "--run-dir", str(tmp_path / "s/run")]
    subprocess.run(
        [WHERRY, *flags, "system", "install-unit", "--prefix", str(tmp_path)],
        check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    with (units / "wherry.service").open("a", encoding="utf-8") as file:
        file.write(change)
    script = f"mkdir -p /etc/systemd/system; mount --bind {units} /etc/systemd/system"
    code, findings = doctor(tmp_path / "s", within=shell(script, "--mount"))
    assert (code, of(findings, "systemd")["level"]) == (0, level)
