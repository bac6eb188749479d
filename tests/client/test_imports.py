"""What importing costs: scripts pay for what they use."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry_protocol import SOFTWARE_VERSION
from wherry_protocol.system import Version, VersionInfo

if TYPE_CHECKING:
    from wherry.testing import FakeSupervisor

ROOT = Path(__file__).parents[2]
WHERRY = Path(sys.executable).with_name("wherry")


def loaded(code: str) -> set[str]:
    """Modules in memory after some code, in a fresh interpreter."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_plain_client_loads_neither_event_loop_nor_typing() -> None:
    names = loaded("import wherry; wherry.Client; wherry.RunSpec; wherry.WherryError")
    assert not names & {"anyio", "trio", "asyncio", "dataclasses", "typing", "socket", "subprocess", "json"}
    assert "wherry_protocol.operations" not in names


def test_the_package_itself_loads_nothing() -> None:
    assert {name for name in loaded("import wherry") if name.startswith("wherry.")} == set()


def test_every_public_name_is_there() -> None:
    for name in wherry.__all__:
        assert getattr(wherry, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = wherry.Nonsense  # type: ignore[attr-defined]


def test_the_version_is_the_packages() -> None:
    """One number in two files: they cannot drift apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == SOFTWARE_VERSION == wherry.__version__


def test_version_starts_within_three_bare_interpreters(fake: FakeSupervisor, tmp_path: Path) -> None:
    """Processor time, the best of many runs: the load of others is not ours. Compiled, as installed."""
    fake.on(Version, lambda _call: VersionInfo(version="1", protocol=1, python="3", kernel="6"))
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    bare, version = [sys.executable, "-c", "pass"], [str(WHERRY), "--run-dir", fake.run_dir, "version"]

    def seconds(command: list[str]) -> float:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _pid, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        assert command is bare or "Server:\n  Version:  1" in said
        return used.ru_utime + used.ru_stime

    seconds(version)  # compiles
    rounds = [(seconds(bare), seconds(version)) for _ in range(25)]
    ratio = min(after for _before, after in rounds) / min(before for before, _after in rounds)
    assert ratio <= 3, f"{ratio:.2f} x python -c pass"
