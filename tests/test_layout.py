"""The import rules of the design, held by the code's own imports."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STDLIB = sys.stdlib_module_names
LAUNCHER_PROCESS = (
    "bounding",
    "child",
    "crew",
    "door",
    "entry",
    "exec_entry",
    "exec_plan",
    "hand",
    "holdings",
    "job",
    "join",
    "kit",
    "loop",
    "main",
    "moment",
    "oom",
    "peer",
    "plan",
    "poll",
    "root",
    "source",
    "starts",
    "status",
    "told",
    "user",
    "wire",
    "worker",
)
LAUNCHER_HANDLE = (
    "asked",
    "detach",
    "finding",
    "handle",
    "ledger",
    "link",
    "orphan",
    "outcome",
    "requests",
    "start",
)


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports at run time, `if TYPE_CHECKING:` blocks left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("client/wherry_protocol", {"msgpack", "wherry_protocol"}),
        ("supervisor/wherryd/kernel", {"wherryd"}),
    ],
)
def test_package_imports_nothing_but_the_standard_library_and(folder: str, allowed: set[str]) -> None:
    """The bottom layers stay free of everything above them."""
    for path in files(folder):
        extra = tops(path) - STDLIB - allowed
        assert not extra, f"{path.relative_to(ROOT)} imports {extra}"


def test_kernel_imports_only_kernel() -> None:
    """No policy below: kernel/ knows nothing of the rest of wherryd."""
    for path in files("supervisor/wherryd/kernel"):
        wrong = {
            n for n in imports_of(path) if n.startswith("wherryd") and not n.startswith("wherryd.kernel")
        }
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_launcher_process_stays_small() -> None:
    """What the launcher process loads is the standard library, msgpack, kernel/ and its own modules."""
    folder = ROOT / "supervisor/wherryd/launcher"
    for path in (p for p in files("supervisor/wherryd/launcher") if p.stem in LAUNCHER_PROCESS):
        for name in imports_of(path):
            top = name.partition(".")[0]
            ok = top in STDLIB or top == "msgpack" or name.startswith(("wherryd.kernel", "wherryd.launcher"))
            assert ok, f"{path.relative_to(ROOT)} imports {name}"
    known = {*LAUNCHER_PROCESS, *LAUNCHER_HANDLE, "__init__"}
    rest = {p.stem for p in folder.glob("*.py")} - known
    assert not rest, f"say on which side {rest} is"


def test_client_and_supervisor_never_import_each_other() -> None:
    """They meet in wherry_protocol only."""
    for path in files("client"):
        assert "wherryd" not in tops(path), path
    for path in files("supervisor"):
        assert "wherry" not in tops(path), path


def test_only_network_imports_pyroute2() -> None:
    """pyroute2 is slow to import and knows its own event loop."""
    for path in files("supervisor"):
        if "network" not in path.parts:
            assert "pyroute2" not in tops(path), path


def test_only_control_knows_the_protocol_connection() -> None:
    """Verbs and containers speak in values."""
    for path in files("supervisor"):
        if "control" not in path.parts:
            assert "wherry_protocol.connection" not in imports_of(path), path


def test_only_kernel_uses_ctypes() -> None:
    """Nothing above the syscall wrappers sees ctypes."""
    for path in files("supervisor"):
        if "kernel" not in path.parts:
            assert "ctypes" not in tops(path), path


def test_every_task_of_the_supervisor_is_begun_in_one_place() -> None:
    """Who runs out of memory in one, or while it begins one, must not be waited for: wherryd/no_memory.py."""
    for path in files("supervisor"):
        if path.name != "tasks.py":
            text = path.read_text()
            assert ".start_soon(" not in text, path
            assert "trio.open_nursery(" not in text, path


def test_every_module_of_tests_has_a_name_of_its_own() -> None:
    """Pytest knows them by that, whichever folder they are in; who runs one folder does not see it."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
