"""Between supervisor and launcher: lets go of the supervisor and becomes the launcher.

Must leave nothing of the supervisor's behind: session, directory, environment, descriptors.
"""

from __future__ import annotations

import os
import sys

from wherryd.kernel import failpoints
from wherryd.kernel.mounts import clone_tree, set_options


def main() -> None:
    """Execute the launcher as nobody's child. Arguments: its program text, run directory, connection."""
    program, run_dir, connection = sys.argv[1:4]
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.set_inheritable(int(connection), True)
    # /proc/PID/exe of the launcher and of its children leads to this mount: a container that gets hold of
    # our interpreter through it finds it read-only (CVE-2019-5736).
    interpreter = clone_tree(sys.executable, recursive=False)
    set_options(interpreter, ("ro",))
    command = [sys.executable, "-I", "-S", "-c", program, run_dir, connection]
    os.execve(interpreter, command, failpoints.environment())  # noqa: S606 - no shell is wanted
