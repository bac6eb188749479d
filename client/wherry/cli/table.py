"""Rows on standard output, in the form that --format asks for.

Owns table, json (one object a line) and template output; must never know what a row is.
"""

from __future__ import annotations

import sys

from wherry.docker_form import printable
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_GAP = 3


def show_rows(rows: Sequence[dict[str, Any]], format_: str, columns: Sequence[tuple[str, str]]) -> None:
    """Print rows: `columns` are (heading, key) of the plain table."""
    if format_ == "table":
        print_table(
            [[title for title, _key in columns], *[[str(row[key]) for _t, key in columns] for row in rows]]
        )
    elif format_ == "json":
        show_json_lines(rows)
    else:
        _show_template(rows, format_)


def show_json_lines(rows: Sequence[dict[str, Any]]) -> None:
    """Print one JSON object a line."""
    import json

    for row in rows:
        print(json.dumps(row))


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Print lines with their columns lined up."""
    for line in table_lines(lines):
        sys.stdout.write(line + "\n")


def table_lines(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with their columns lined up; what a terminal might obey is shown, not sent."""
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["".join(line).rstrip() for line in padded]


def _show_template(rows: Sequence[dict[str, Any]], format_: str) -> None:
    from wherry.cli.template import compile_template

    as_table = format_.startswith("table ")
    template = compile_template(format_.removeprefix("table "))
    lines = [template.render(row) for row in rows]
    if as_table:
        print_table([line.split("\t") for line in [template.header, *lines]])
    else:
        for line in lines:
            print(line)
