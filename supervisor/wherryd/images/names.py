"""The grammar of image references. Pure: never looks at the disk or the store."""

from __future__ import annotations

import re
from pathlib import PurePath

from wherry_protocol.errors import BadRequest

HOST = "host"
"""The reference of the machine's own /usr."""

_WORD = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_NAME = re.compile(rf"(?:{_WORD}(?::\d{{1,5}})?/)?{_WORD}(?:/{_WORD})*(?::{_WORD})?")
_LONGEST = 384
_DEFAULT_REGISTRY = re.compile(r"(?:index\.)?docker\.io/(?:library/)?")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")
_SUFFIXES = re.compile(r"(?:\.(?:tar|tgz|tbz2?|txz|tzst|gz|bz2|xz|zst|zstd))+$", re.IGNORECASE)


def is_path(reference: str) -> bool:
    """Say whether the reference can only be a path."""
    return reference.startswith(("/", "."))


def may_be_path(reference: str) -> bool:
    """Say whether a reference that is no name in the store is meant as a path."""
    return "/" in reference or reference.startswith(".")


def check_name(name: str) -> str:
    """Return a name that the store accepts, as short as docker shows it. Raises BadRequest."""
    if name == HOST or len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise BadRequest(
            f"{name!r:.150} is no image name",
            hint="letters, digits, '_', '.' and '-', with or without a registry and folders before it"
            " and a ':tag' after it; not 'host'",
        )
    return familiar(name)


def familiar(name: str) -> str:
    """Return a name without what docker leaves out: docker.io/library/alpine is alpine."""
    return name[found.end() :] if (found := _DEFAULT_REGISTRY.match(name)) else name


def spellings(name: str) -> tuple[str, str]:
    """Return both ways to write a name: without a tag, `latest` is meant."""
    bare = familiar(name).removesuffix(":latest")
    has_tag = ":" in bare.rpartition("/")[2]
    return (bare, bare) if has_tag else (bare, f"{bare}:latest")


def split(name: str) -> tuple[str, str]:
    """Return a name's repository and its tag."""
    bare = spellings(name)[1]
    repository, _, tag = bare.rpartition(":")
    return repository, tag


def from_archive(name: str, source: str) -> str | None:
    """Return the name under which an archive's image is kept; None if its own is none that can be.

    Of an OCI layout the name may be a tag only: the file's name goes before it.
    """
    if ":" not in name and "/" not in name and source != "-":
        name = f"{_SUFFIXES.sub('', PurePath(source).name)}:{name}"
    try:
        return check_name(name)
    except BadRequest:
        return None


def digest_prefix(reference: str) -> str | None:
    """Return the hex digits if the reference can be a digest or the beginning of one."""
    found = _DIGEST.fullmatch(reference)
    return found[1] if found else None


def name_from_file(path: str) -> str:
    """Return the name an archive gets when none is given: its file's, without suffixes. Raises BadRequest."""
    return check_name(_SUFFIXES.sub("", PurePath(path).name))
