"""Containers that run while no record tells of them, the state database having been lost: taken in.

What is known of one is what the launcher holds and what its process says; the rest is called unknown.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.run_spec import RunSpec
from wherryd import journal
from wherryd.containers.config import Config
from wherryd.containers.container import Container
from wherryd.containers.lifecycle import Phase
from wherryd.containers.names import SHORT_ID
from wherryd.images.reference import RootImage
from wherryd.salvage.opening import make_aside

if TYPE_CHECKING:
    from wherryd.containers.services import Services
    from wherryd.launcher.handle import Adopted

UNKNOWN = "unknown"


def take_in(entry: Adopted, services: Services) -> Container:
    """Return a container for what the launcher holds, in the registry and on record. Raises NoSpace."""
    args = _command_line(entry.pid)
    name = f"recovered-{entry.id[:SHORT_ID]}"
    container = Container(
        container_id=entry.id,
        name=name,
        config=Config(
            spec=RunSpec(image=UNKNOWN, name=name, command=args, tty=entry.tty is not None),
            image=RootImage(reference=UNKNOWN, digest=None, layers=(), binds=()),
            args=args,
            env={},
            workdir="/",
            user="",
            hostname=entry.id[:SHORT_ID],
            stop_signal=signal.SIGTERM,
        ),
        directory=services.settings.containers_dir / entry.id,
        created_at=time.time(),
    )
    container.phase = Phase.RUNNING
    container.started_at = container.created_at
    container.pid = entry.pid
    services.registry.add(container)
    services.records.add(container)
    journal.error("container runs without a record", id=entry.id, name=name, pid=entry.pid)
    return container


def put_aside(directory: str, aside: Path) -> None:
    """Keep the directory of a container that nothing is known of: its log and files may be wanted."""
    try:
        make_aside(aside)
        os.rename(directory, aside / f"container-{Path(directory).name}")
        journal.error("container is lost; its files are kept", kept=aside, id=Path(directory).name)
    except OSError as error:
        journal.error("container's files stay where they are", path=directory, error=error)


def _command_line(pid: int) -> tuple[str, ...]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        text = b""  # it has ended, and waits for its record
    words = [os.fsdecode(word) for word in text.split(b"\0")[:-1]]
    return tuple(words) or (UNKNOWN,)
