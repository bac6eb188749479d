"""Another release of wherry, in a virtual environment of its own, which can be deleted under it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # it has no types

import wherry
import wherry_protocol
import wherryd
from wherryd.launcher import wire

VERSION = "0.0.9"
_OURS = (wherry, wherry_protocol, wherryd, msgpack)


class Release:
    """An older release, in `folder`.

    Its launcher is of the previous version of the protocol, greets as those did which knew no other, and is
    asked for starts in other words; unless it is the `same_launcher`.
    """

    def __init__(self, folder: Path, *, same_launcher: bool = False) -> None:
        self.folder = folder
        options = ["--copies", "--without-pip"]
        subprocess.run([sys.executable, "-m", "venv", *options, folder], check=True)
        self.python = str(folder / "bin" / "python")
        others = sysconfig.get_path("purelib")
        self._packages = folder / Path(others).relative_to(sys.prefix)
        for package in _OURS:
            origin = Path(package.__file__ or "").parent
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin, self._packages / origin.name, ignore=ignored)
        # What it needs of others; not ourselves, as .pth files are not followed from there.
        (self._packages / "others.pth").write_text(f"{others}\n")
        self._change("wherry_protocol/__init__.py", r'(SOFTWARE_VERSION = )".*"', rf'\1"{VERSION}"')
        self._change("wherryd/__init__.py", r'(__version__ = )".*"', rf'\1"{VERSION}"')
        if not same_launcher:
            self._change("wherryd/launcher/wire.py", r"\n(VERSION = )\d+", rf"\n\g<1>{wire.VERSION - 1}")
            self._change("wherryd/launcher/loop.py", r"(os.getpid\(\)), wire.HOLDING_SINCE", r"\1")
            for old, new in (("spawn", "begin"), ("exec", "enter")):
                self._change("wherryd/launcher/loop.py", f'"{old}": starts', f'"{new}": starts')
                self._change("wherryd/launcher/requests.py", f'pack."{old}"', f'pack("{new}"')

    def delete(self) -> None:
        """Remove everything of it."""
        shutil.rmtree(self.folder)
        assert not os.path.exists(self.python)

    def _change(self, name: str, old: str, new: str) -> None:
        path = self._packages / name
        text, count = re.subn(old, new, path.read_text())
        assert count == 1, f"{name} has {count} times {old}"
        path.write_text(text)
