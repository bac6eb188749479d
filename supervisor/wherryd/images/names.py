"""The grammar of image references. Pure: never looks at the disk or the store."""

from __future__ import annotations

import re
from pathlib import PurePath

from wherry_protocol.errors import BadRequest

HOST = "host"
"""The reference of the machine's own /usr."""

_WORD = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_NAME = re.compile(rf"{_WORD}(:{_WORD})?")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")
_SUFFIXES = re.compile(r"(?:\.(?:tar|tgz|tbz2?|txz|tzst|gz|bz2|xz|zst|zstd))+$", re.IGNORECASE)


def is_path(reference: str) -> bool:
    """Say whether the reference can only be a path."""
    return "/" in reference or reference.startswith(".")


def check_name(name: str) -> str:
    """Return a name that the store accepts. Raises BadRequest."""
    if name == HOST or not _NAME.fullmatch(name):
        raise BadRequest(
            f"{name!r:.150} is no image name",
            hint="letters, digits, '_', '.' and '-', at most 128, with or without a ':tag'; not 'host'",
        )
    return name


def spellings(name: str) -> tuple[str, str]:
    """Return both ways to write a name: without a tag, `latest` is meant."""
    bare = name.removesuffix(":latest")
    return (bare, f"{bare}:latest") if ":" not in bare else (name, name)


def digest_prefix(reference: str) -> str | None:
    """Return the hex digits if the reference can be a digest or the beginning of one."""
    found = _DIGEST.fullmatch(reference)
    return found[1] if found else None


def name_from_file(path: str) -> str:
    """Return the name an archive gets when none is given: its file's, without suffixes. Raises BadRequest."""
    return check_name(_SUFFIXES.sub("", PurePath(path).name))
