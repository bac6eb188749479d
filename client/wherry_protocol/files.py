"""Requests about the files of containers. Their bytes travel through a descriptor, not through the socket."""

from __future__ import annotations

from wherry_protocol.call import Stream
from wherry_protocol.images import ImageSummary
from wherry_protocol.system import Progress
from wherry_protocol.typed import Literal
from wherry_protocol.value import Value

Compression = Literal["none", "gzip", "bzip2", "xz", "zstd"]


class Packed(Value):
    """An archive is written, or a copy made.

    `size` is bytes: of the archive as it is written, or of the files copied. `left_out` tells what of the
    container's files it does not have, as sockets and device nodes: `left_out_count` of them, some by name.
    """

    entries: int
    size: int
    left_out: tuple[str, ...] = ()
    left_out_count: int = 0


class Export(Stream[Packed]):
    """Write a container's root file system, without volumes, as a tar archive.

    It goes to the descriptor that rides along. With `pause` every process of it stands still meanwhile.
    """

    op = "export"
    answer = Packed
    events = (Progress,)
    descriptors = 1
    ref: str
    compression: Compression = "none"
    pause: bool = True


class CommitImage(Stream[ImageSummary]):
    """Keep a container's root file system as an image in the store, under `name` (None: without one).

    Its config is what the container was run with, with `changes` over it: instructions as of a Dockerfile.
    """

    op = "commit"
    answer = ImageSummary
    events = (Progress,)
    ref: str
    name: str | None = None
    pause: bool = True
    message: str = ""
    author: str = ""
    changes: tuple[str, ...] = ()


class Change(Value):
    """A path of a container's root that is not as in its image: "A"dded, "C"hanged or "D"eleted."""

    kind: Literal["A", "C", "D"]
    path: str


class Changes(Value):
    """Some changes, parents first."""

    entries: tuple[Change, ...]


class Diff(Stream[None]):
    """Ask what a container changed in its root file system."""

    op = "diff"
    events = (Changes,)
    ref: str


class CopyOut(Stream[Packed]):
    """Copy `path` of a container to the descriptor that rides along.

    `target` says what the destination is: a "directory" (the descriptor is it), a "file" or "missing" (it is
    to be called `name`, in the directory that the descriptor is), or "tar": an archive into a pipe or file.
    `told` is its path for error texts. `slash`: the destination was written with a slash at the end.
    `follow`: of a symlink, what it leads to.
    `owner` is (uid, gid) of what is made; None keeps the container's numbers, and special modes.
    """

    op = "copy_out"
    answer = Packed
    events = (Progress,)
    descriptors = 1
    ref: str
    path: str
    target: Literal["directory", "file", "missing", "tar"]
    name: str = ""
    told: str = ""
    slash: bool = False
    follow: bool = False
    owner: tuple[int, int] | None = None


class CopyIn(Stream[Packed]):
    """Copy the file, directory or symlink that the descriptor is to `path` of a container, as docker cp does.

    `name` is what it is called; `contents`: what is in the directory is meant. `tar`: the descriptor reads as
    a tar archive, compressed or not, and `path` is a directory. `owner` as of CopyOut.
    """

    op = "copy_in"
    answer = Packed
    events = (Progress,)
    descriptors = 1
    ref: str
    path: str
    name: str = ""
    contents: bool = False
    tar: bool = False
    owner: tuple[int, int] | None = None
