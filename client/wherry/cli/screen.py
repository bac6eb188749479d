"""A table that is shown again and again in the same place of a terminal."""

from __future__ import annotations

import os
import sys

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"


def redraw(lines: Sequence[str]) -> None:
    """Write over what the screen shows, without a flicker; what does not fit is cut."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    shown = [line[:columns] for line in lines[: rows - 1]]
    if len(lines) > rows - 1:
        shown[-1] = f"… {len(lines) - (rows - 2)} more"
    body = "".join(f"{line}{_TO_LINE_END}\n" for line in shown)
    sys.stdout.write(f"{_HOME}{body}{_TO_SCREEN_END}")
