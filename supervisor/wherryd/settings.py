"""Where this supervisor keeps things and how it behaves: flags over environment over /etc/wherry/config.toml.

Owns the precedence and the checks of the values; makes no directory and opens no socket.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import BadRequest
from wherryd.logs.limits import LogLimits, limits_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherryd.metrics.address import Address

CONFIG_FILE = Path("/etc/wherry/config.toml")
DEFAULT_STATE_DIR = Path("/var/lib/wherry")
DEFAULT_RUN_DIR = Path("/run/wherry")

NETWORKS = ("bridge", "none", "host")
"""What a container that asks for no network may get: the first, unless somebody says otherwise."""

NO_LOG_SETTINGS = LogLimits()
"""What bounds the logs when nobody says anything."""

SOCKET_PATH_MAX = 107
"""sun_path of sockaddr_un less its closing NUL (unix(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one supervisor runs with. `instance` names it wherever the kernel has one name space for all.

    `default_network` is what containers get that ask for none, `log` bounds the logs of those that say
    nothing of it.
    """

    state_dir: Path
    run_dir: Path
    stop_containers: bool = False
    debug: bool = False
    default_network: str = "bridge"
    metrics: Address | None = None
    log: LogLimits = NO_LOG_SETTINGS

    @property
    def instance(self) -> str:
        """`wherry`, with a suffix from the state directory when that is not the default one."""
        if self.state_dir == DEFAULT_STATE_DIR:
            return "wherry"
        return "wherry-" + hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:8]

    @property
    def control_socket(self) -> Path:
        """The socket that clients connect to."""
        return self.run_dir / "control.sock"

    @property
    def containers_dir(self) -> Path:
        """One directory a container, named by its id."""
        return self.state_dir / "containers"

    @property
    def images_dir(self) -> Path:
        """The image store."""
        return self.state_dir / "images"

    @property
    def trash_dir(self) -> Path:
        """Where removed containers' directories wait for their deletion."""
        return self.state_dir / "trash"

    @property
    def spare_dir(self) -> Path:
        """Where container directories made ahead wait for a container."""
        return self.state_dir / "spare"

    @property
    def database(self) -> Path:
        """The state database."""
        return self.state_dir / "state.db"

    @property
    def records_dir(self) -> Path:
        """Copies of what the database has: see salvage/."""
        return self.state_dir / "records"

    @property
    def aside_dir(self) -> Path:
        """Where a broken database, and what belonged to it alone, is kept."""
        return self.state_dir / "aside"

    @property
    def volumes_dir(self) -> Path:
        """One directory a volume, named as it is."""
        return self.state_dir / "volumes"

    @property
    def own_paths(self) -> tuple[str, str]:
        """What no container may reach: whoever can write there is root on the host."""
        return str(self.state_dir), str(self.run_dir)

    @property
    def mountpoint(self) -> Path:
        """An empty directory: each container mounts its root here, in its own mount namespace."""
        return self.run_dir / "root"


def load_settings(
    *,
    state_dir: str | None = None,
    run_dir: str | None = None,
    stop_containers: bool = False,
    debug: bool = False,
    metrics: str | None = None,
    environ: Mapping[str, str] = os.environ,
    config_file: Path = CONFIG_FILE,
) -> Settings:
    """Combine flags (None: not given), WHERRY_STATE_DIR and its like, the file, and the defaults.

    Raises BadRequest naming the file or the value at fault.
    """
    config = _read_config(config_file)
    settings = Settings(
        state_dir=_directory(
            state_dir or environ.get("WHERRY_STATE_DIR") or config.get("state_dir"), DEFAULT_STATE_DIR
        ),
        run_dir=_directory(
            run_dir or environ.get("WHERRY_RUN_DIR") or config.get("run_dir"), DEFAULT_RUN_DIR
        ),
        stop_containers=stop_containers or bool(config.get("stop_containers", False)),
        debug=debug or bool(config.get("debug", False)),
        default_network=_network(environ.get("WHERRY_DEFAULT_NETWORK") or config.get("default_network")),
        metrics=_address(metrics or environ.get("WHERRY_METRICS") or config.get("metrics")),
        log=limits_from(config["log"], f"{config_file}: [log]") if "log" in config else NO_LOG_SETTINGS,
    )
    if len(os.fsencode(settings.control_socket)) > SOCKET_PATH_MAX:
        raise BadRequest(
            f"run directory {settings.run_dir}: a socket's path in it would be over {SOCKET_PATH_MAX} bytes",
            hint="choose a shorter --run-dir",
        )
    return settings


def _directory(value: str | None, default: Path) -> Path:
    if value is None:
        return default
    if "\0" in value or "\n" in value:
        raise BadRequest(f"directory {value!r}: control characters are not allowed")
    return Path(os.path.realpath(value))


def _network(value: str | None) -> str:
    if value is None:
        return NETWORKS[0]
    if value not in NETWORKS:
        raise BadRequest(f"default network {value[:40]!r} is unknown", hint=f"one of {', '.join(NETWORKS)}")
    return value


def _address(value: str | None) -> Address | None:
    if not value:
        return None
    from wherryd.metrics.address import parse_address  # few ask for it

    return parse_address(value)


_KINDS: dict[str, type] = {
    "state_dir": str,
    "run_dir": str,
    "stop_containers": bool,
    "debug": bool,
    "default_network": str,
    "metrics": str,
    "log": dict,
}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            config = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path}: cannot be read: {error}") from error
    for key, value in config.items():
        kind = _KINDS.get(key)
        if kind is None:
            raise BadRequest(f"{path}: unknown setting {key}", hint=f"known: {', '.join(_KINDS)}")
        if not isinstance(value, kind):
            raise BadRequest(f"{path}: {key} must be a {'table' if kind is dict else kind.__name__}")
    return config
