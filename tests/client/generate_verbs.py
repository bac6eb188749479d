"""Makes client/wherry/verbs/ from async_verbs/: run me after changing a verb."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[2] / "client" / "wherry"
ASYNC, PLAIN = CLIENT / "async_verbs", CLIENT / "verbs"

HEADER = "# Made from async_verbs/{name} by tests/client/generate_verbs.py: change that one.\n"

WORDS = (
    ("the one place where verbs are written by hand", "made from wherry.async_verbs"),
    ("async client", "plain client"),
    (r"wherry/verbs is made from\nthis package .*\n", "\n"),
    (r"\b(async|await) ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync_(?=verbs|event_stream|process)", ""),
)


def generate() -> dict[str, str]:
    """Return what each file of verbs/ should hold, by name."""
    return {path.name: _plain(path) for path in sorted(ASYNC.glob("*.py"))}


def _plain(path: Path) -> str:
    text = path.read_text()
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    target = PLAIN / path.name
    ruff = [sys.executable, "-m", "ruff"]
    for command in (
        ["check", "-q", "--select", "I", "--fix", "--stdin-filename", str(target), "-"],
        ["format", "--stdin-filename", str(target), "-"],
    ):
        done = subprocess.run([*ruff, *command], input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return HEADER.format(name=path.name) + text


if __name__ == "__main__":
    made = generate()
    PLAIN.mkdir(exist_ok=True)
    for old in PLAIN.glob("*.py"):
        old.unlink()
    for name, text in made.items():
        (PLAIN / name).write_text(text)
