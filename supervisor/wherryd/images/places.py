"""Where an image reference that is a path leads. Looks at the host's files, and never into one."""

from __future__ import annotations

import os
import stat

from wherry_protocol.errors import BadRequest, ImageError, NotFound
from wherryd.images import names


def absolute(reference: str, base_dir: str | None) -> str:
    """Return the path that a reference is, relative ones from `base_dir`. Raises BadRequest, NotFound."""
    if "\0" in reference or not reference:
        raise BadRequest("an image reference is empty or has a NUL byte in it")
    if reference.startswith("/"):
        return reference
    if base_dir is None or not base_dir.startswith("/"):
        if not names.may_be_path(reference):
            raise _not_found(reference)
        raise BadRequest(f"image {reference}: a relative path, and no directory to count from")
    if reference.startswith("./"):
        reference = reference[2:].lstrip("/")
    return os.path.join(base_dir, reference)


def stat_of(path: str, reference: str) -> os.stat_result:
    """Return what is at a path. Raises NotFound in the words of the reference, ImageError."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(reference) from error
    except OSError as error:
        raise ImageError(f"image {path}: {error.strerror}", errno=error.errno, path=path) from error


def _not_found(reference: str) -> NotFound:
    if names.may_be_path(reference):
        return NotFound(f"image {reference}: no such file or directory", path=reference)
    return NotFound(
        f"no image {reference}: neither in the store nor a file or directory here",
        hint="give a directory, a tar archive, 'host', or a name that `wherry images` shows",
    )


def check_file(path: str, found: os.stat_result) -> None:
    """Refuse what cannot be an archive. Raises ImageError."""
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"image {path}: neither a file nor a directory", path=path)
    if found.st_size == 0:
        raise ImageError(f"image {path}: the file is empty", path=path)
