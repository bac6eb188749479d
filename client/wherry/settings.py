"""Where the supervisor of this user's choice is: argument over environment over /etc/wherry/config.toml.

Owns the precedence on the client's side; must never make a directory. Only directories are read
from the file here: its other settings, and their checks, are the supervisor's.
"""

from __future__ import annotations

import os

from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_FILE = "/etc/wherry/config.toml"
DEFAULT_RUN_DIR = "/run/wherry"

SOCKET_PATH_MAX = 107
"""sun_path of sockaddr_un less its closing NUL (unix(7))."""


class Directories(Value):
    """`run_dir` holds the control socket; `state_dir` None leaves the choice to the supervisor."""

    run_dir: str
    state_dir: str | None = None

    @property
    def socket(self) -> str:
        """The control socket's path."""
        return f"{self.run_dir}/control.sock"


def find_directories(
    run_dir: str | os.PathLike[str] | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    config_file: str = CONFIG_FILE,
) -> Directories:
    """Return the directories to use. Raises BadRequest for an unreadable file or too long a path."""
    run = run_dir or environ.get("WHERRY_RUN_DIR") or _setting(config_file, "run_dir") or DEFAULT_RUN_DIR
    state = state_dir or environ.get("WHERRY_STATE_DIR")
    found = Directories(run_dir=os.path.abspath(run), state_dir=os.path.abspath(state) if state else None)
    if len(os.fsencode(found.socket)) > SOCKET_PATH_MAX:
        raise BadRequest(
            f"run directory {found.run_dir}: a socket's path in it would be over {SOCKET_PATH_MAX} bytes",
            hint="choose a shorter --run-dir",
        )
    return found


def _setting(path: str, key: str) -> str | None:
    if not os.path.exists(path):
        return None
    import tomllib  # 4 ms that only hosts with a file pay

    try:
        with open(path, "rb") as file:
            value = tomllib.load(file).get(key)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path}: cannot be read: {error}") from error
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{path}: {key} must be a string")
    return value
