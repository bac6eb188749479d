"""What a worker is asked to do: values that travel as one argument of its command line.

Owns their form. Never looks at the disk.
"""

from __future__ import annotations

import json
from typing import NamedTuple


class View(NamedTuple):
    """What the worker is to see as its root.

    `pidfd`: the files of the container whose process this is; None: what its layers (topmost first) and
    `upper` make, mounted on the empty directory `mountpoint`. `binds` are (source, target, options, foreign)
    to put on top; a foreign one is a path of somebody's choice, and refused if it leads into `own_paths`.
    `mounts`: see the volumes and tmpfs of the running container too. `writable`: what is seen may be changed,
    with `fixed_root` only what is mounted on the root. `compare`: open upper directory and layers beside the
    root, to find out what was changed.
    """

    layers: tuple[str, ...]
    upper: str | None
    work: str | None
    mountpoint: str
    binds: tuple[tuple[str, str, tuple[str, ...], bool], ...] = ()
    own_paths: tuple[str, ...] = ()
    pidfd: int | None = None
    mounts: bool = False
    writable: bool = False
    fixed_root: bool = False
    compare: bool = False


class Pack(NamedTuple):
    """Write the root into the data descriptor as a tar archive; with `layer` only what was changed.

    `ours` are paths that wherry itself makes in a root, to mount on.
    """

    compression: str | None
    layer: bool = False
    ours: tuple[str, ...] = ()


class Compare(NamedTuple):
    """Tell what was changed."""

    ours: tuple[str, ...] = ()


class CopyOut(NamedTuple):
    """Copy `path` to the data descriptor: into a directory of the host, or as a tar archive.

    `kind` says what the destination is: "directory" (the descriptor), "file" or "missing" (`name` in the
    descriptor's directory), or "tar"; `told` is its path for error texts. `owner` None keeps owners and
    special modes.
    """

    path: str
    follow: bool
    kind: str
    name: str
    told: str
    slash: bool
    owner: tuple[int, int] | None


class CopyIn(NamedTuple):
    """Copy what the data descriptor is, called `name` (with `contents`: what is in it), to `path`.

    `tar`: it is an archive, and `path` a directory. `owner` None keeps owners and special modes.
    """

    path: str
    name: str
    contents: bool
    tar: bool
    owner: tuple[int, int] | None


Task = Pack | Compare | CopyOut | CopyIn
_TASKS: dict[str, type[Task]] = {kind.__name__: kind for kind in (Pack, Compare, CopyOut, CopyIn)}


def encode(view: View, task: Task, data: int | None) -> str:
    """Return a job as text that an argument can hold; `data` is a descriptor, if the task needs one."""
    return json.dumps([view, type(task).__name__, task, data])


def decode(text: str) -> tuple[View, Task, int | None]:
    """Return the job that `encode` was given."""
    view, name, task, data = json.loads(text)
    seen = View(*view)
    binds = tuple(
        (source, target, tuple(options), foreign) for source, target, options, foreign in seen.binds
    )
    seen = seen._replace(layers=tuple(seen.layers), own_paths=tuple(seen.own_paths), binds=binds)
    return seen, _TASKS[name](*task), data
