"""Makes client/wherry/verbs.py from async_verbs.py: run me after changing a verb."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[2] / "client" / "wherry"

HEADER = '''"""Every verb of the plain client, made from async_verbs.py by tests/client/generate_verbs.py.

Owns the way from a method's arguments to a request. Must never do IO itself.
"""
'''


def generate() -> str:
    """Return what verbs.py should hold."""
    body = (CLIENT / "async_verbs.py").read_text().split('"""\n', 1)[1]
    body = re.sub(r"\b(async|await) ", "", body)
    body = re.sub(r"\bAsync(Verbs|EventStream)", r"\1", body)
    body = body.replace("wherry.async_event_stream", "wherry.event_stream")
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(CLIENT / "verbs.py"), "-"]
    return subprocess.run(command, input=HEADER + body, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    (CLIENT / "verbs.py").write_text(generate())
