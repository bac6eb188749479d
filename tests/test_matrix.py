"""The page that says which test shows what: each of these exists, each row names one or says what is open."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE / "RELIABILITY.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and " shown by |" not in line]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > len(ROWS)
    for name, function in named:
        path = HERE / name
        assert path.is_file(), f"{name} is not there"
        assert not function or function in functions(path), f"{name} has no {function}"


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 50
    for row in ROWS:
        assert row.count("|") == 4, row
        assert "::test_" in row or "**Open**" in row, f"nothing shows: {row}"
