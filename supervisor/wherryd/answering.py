"""The answering side of a helper process: one question on standard input, one answer on standard output.

Must never import trio, or anything that talks to a supervisor: what a helper looks at may be hostile.
"""

from __future__ import annotations

import json
import os
import select
import sys
from threading import Thread
from typing import TYPE_CHECKING, Any

from wherryd.kernel.errors import KernelError
from wherryd.kernel.process import set_title

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWER = 1


def answer(title: str, work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Do the work that the question asks for, and say what came of it, good or bad."""
    try:
        set_title(title)
        said = work(json.load(sys.stdin.buffer))
    except KernelError as error:
        said = {"failed": [error.errno, str(error)]}
    except OSError as error:
        where = f"{error.filename!s}: " if error.filename else ""
        said = {"failed": [error.errno, f"{where}{error.strerror}"]}
    except Exception as error:  # noqa: BLE001 - the asker is told of everything
        said = {"failed": [None, f"{type(error).__name__}: {error}"]}
    with open(_ANSWER, "wb", closefd=False) as out:
        out.write(json.dumps(said).encode())


def end_with_asker() -> None:
    """End this process at once when nobody waits for its answer any more. Call it when the work begins."""
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    waiter = select.poll()
    waiter.register(_ANSWER, 0)
    waiter.poll()
    os._exit(1)
