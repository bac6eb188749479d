"""Whether a disk of this machine heeds I/O weights: the kernel takes a weight also where none does.

The BFQ scheduler heeds them (block/bfq-iosched.rst), and so does io.cost where it was turned on for a disk
(admin-guide/cgroup-v2.rst, "IO"). Looks only; must never choose a scheduler: that is the machine's owner's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.errors import Unsupported

if TYPE_CHECKING:
    from wherryd.cgroups.tree import Tree

SYS_BLOCK = Path("/sys/block")


def check_heeded(tree: Tree, sys_block: Path = SYS_BLOCK) -> None:
    """Refuse a weight that would do nothing. Raises Unsupported.

    Where that is not to be seen, as in a container, it is taken.
    """
    schedulers = [_read(path) for path in sys_block.glob("*/queue/scheduler")]
    if not schedulers or any("[bfq]" in text for text in schedulers):
        return
    legacy, unified = tree.version_of("io") == 1, tree.hierarchies.v2
    if not legacy and unified is not None and _may_cost(Path(unified)):
        return
    where = "v1" if legacy else "v2"
    missing = "no disk has the bfq scheduler" + ("" if legacy else ", and io.cost is on for none")
    raise Unsupported(
        f"io weight: cgroup controller io ({where}) would weigh nothing here: {missing}",
        hint="such as: echo bfq >/sys/block/sda/queue/scheduler",
    )


def _may_cost(root: Path) -> bool:
    """Say whether io.cost is on for a disk; also when this is no root of v2, which alone has the file."""
    if (root / "cgroup.type").exists():
        return True
    return "enable=1" in _read(root / "io.cost.qos")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""  # a disk that went, or a kernel without io.cost
