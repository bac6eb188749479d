"""From a request (RunSpec) and its image to what will run: checks and defaults, before anything is made.

Owns the refusals: bad input ends here. Looks at the host's files (volume sources), changes nothing.
"""

from __future__ import annotations

import math
import os
import posixpath
import re
import signal
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from wherry_protocol.container_state import MountPoint
from wherry_protocol.errors import BadRequest
from wherry_protocol.health import HealthCheck
from wherry_protocol.log_options import NO_LOG_OPTIONS
from wherry_protocol.restarts import NO_RESTART
from wherry_protocol.run_spec import RunSpec
from wherryd.containers import healthcheck, restart_policy
from wherryd.containers.mountpoints import check_mounts, no_nul
from wherryd.containers.names import SHORT_ID, check_name
from wherryd.images.reference import ImageConfig, RootImage, config_from_json
from wherryd.logs import limits as log_limits
from wherryd.network.rules import ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry_protocol.limits import Limits
    from wherry_protocol.log_options import LogOptions
    from wherry_protocol.processes import ExecSpec
    from wherry_protocol.restarts import RestartPolicy

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")
HOSTNAME_MAX = 63
"""One DNS label; the kernel's own limit is 64 (uname(2))."""

ULIMITS = (
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
).split()

USER_MAX = 256

_NOTHING = ImageConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A container as it was fixed at `create`: the request, its image, and what both come to."""

    spec: RunSpec
    image: RootImage
    args: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    user: str
    hostname: str
    stop_signal: int
    mounts: tuple[MountPoint, ...] = ()
    health: HealthCheck | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes back."""
        image = self.image
        return {
            "spec": self.spec.to_wire(),
            "image": {
                "reference": image.reference,
                "digest": image.digest,
                "layers": image.layers,
                "binds": image.binds,
                **({} if image.config == _NOTHING else {"config": asdict(image.config)}),
            },
            "args": self.args,
            "env": self.env,
            "workdir": self.workdir,
            "user": self.user,
            "hostname": self.hostname,
            "stop_signal": self.stop_signal,
            "mounts": [mount.to_wire() for mount in self.mounts],
            "health": self.health and self.health.to_wire(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Config:
        """Rebuild a config from the state database."""
        image = data["image"]
        return cls(
            spec=RunSpec.from_wire(data["spec"]),
            image=RootImage(
                reference=image["reference"],
                digest=image["digest"],
                layers=tuple(image["layers"]),
                binds=tuple((source, target) for source, target in image["binds"]),
                config=config_from_json(image["config"]) if "config" in image else _NOTHING,
            ),
            args=tuple(data["args"]),
            env=data["env"],
            workdir=data["workdir"],
            user=data["user"],
            hostname=data["hostname"],
            stop_signal=data["stop_signal"],
            mounts=tuple(MountPoint.from_wire(mount) for mount in data["mounts"]),
            health=HealthCheck.from_wire(health) if (health := data.get("health")) else None,
        )


def check_spec(spec: RunSpec) -> None:
    """Refuse what can be refused without the image or the host. Raises BadRequest naming field and value."""
    no_nul(spec.image, "image")
    if not spec.image:
        raise BadRequest("image: the reference is empty")
    if spec.name is not None:
        check_name(spec.name)
    check_process(spec, (*spec.command, *(spec.entrypoint or ())))
    _check_labels(spec.labels)
    for limit in spec.ulimits:
        _check_ulimit(limit.name, limit.soft, limit.hard)
    _check_hostname(spec.hostname)
    if spec.stop_signal is not None:
        signal_number(spec.stop_signal)
    check_timeout(spec.stop_timeout)
    if spec.health is not None:
        healthcheck.check(spec.health)
    if spec.restart is not NO_RESTART:
        restart_policy.check(spec)
    check_mounts(spec)
    ports.check(spec)
    log_limits.check(spec.log)


def check_process(spec: RunSpec | ExecSpec, command: tuple[str, ...]) -> None:
    """Refuse what no process can have, be it a container's first one or one beside it. Raises BadRequest."""
    for text in command:
        no_nul(text, "command")
    for key, value in spec.env.items():
        if not key or "=" in key:
            raise BadRequest(f"env {key!r}: the name is empty or has '='", hint="write NAME=value")
        no_nul(key + value, "env")
    if spec.workdir is not None and not spec.workdir.startswith("/"):
        raise BadRequest(f"workdir {spec.workdir!r} is not absolute", hint="start it with /")
    no_nul(spec.workdir or "", "workdir")
    _check_user(spec.user)
    if spec.tty_size is not None and not all(0 <= side <= 0xFFFF for side in spec.tty_size):  # noqa: PLR2004 - u16
        raise BadRequest(f"tty_size {spec.tty_size}: rows and columns are 0 to 65535")


def resolve(
    spec: RunSpec, image: RootImage, container_id: str, mounts: tuple[MountPoint, ...] = ()
) -> Config:
    """Combine a checked request with its image. Raises BadRequest when there is nothing to run."""
    entrypoint = image.config.entrypoint if spec.entrypoint is None else spec.entrypoint
    # As docker: an entrypoint given by the caller drops the image's command.
    default = image.config.cmd if spec.entrypoint is None else ()
    args = (*entrypoint, *(spec.command or default))
    if not args:
        raise BadRequest(f"image {image.reference} has no default command", hint="give one after the image")
    if not args[0]:
        raise BadRequest("command: the program's name is empty")
    if image.config.labels:
        spec = spec.replace(labels={**image.config.labels, **spec.labels})
    if not spec.user:
        _check_user(image.config.user)
    hostname = spec.hostname or (os.uname().nodename if spec.network == "host" else container_id[:SHORT_ID])
    return Config(
        spec=spec,
        image=image,
        args=args,
        env=_environment(spec, image, hostname),
        workdir=clean_path(spec.workdir or image.config.working_dir or "/"),
        user=spec.user or image.config.user,
        hostname=hostname,
        stop_signal=signal_number(spec.stop_signal or image.config.stop_signal or "SIGTERM"),
        health=healthcheck.resolve(spec.health, image.config, image.reference),
        mounts=mounts,
    )


def changed(
    config: Config,
    *,
    labels: Mapping[str, str],
    remove_labels: Sequence[str],
    stop_signal: str | None,
    stop_timeout: float | None,
    limits: Limits,
    restart: RestartPolicy | None = None,
    requires: tuple[str, ...] | None = None,
    log: LogOptions = NO_LOG_OPTIONS,
) -> Config:
    """Return a container's configuration with some of it changed. Raises BadRequest naming the value."""
    said = (stop_signal, stop_timeout, restart, requires)
    said_nothing = said == (None,) * 4 and limits is config.spec.limits and log == NO_LOG_OPTIONS
    if said_nothing and not labels and not remove_labels:
        raise BadRequest(
            "update: nothing to change",
            hint="give a limit, label, restart policy, log option, stop signal or stop timeout",
        )
    kept = {key: value for key, value in config.spec.labels.items() if key not in remove_labels}
    spec = config.spec.replace(labels={**kept, **labels}, limits=limits)
    number = config.stop_signal
    if stop_signal is not None:
        number, spec = signal_number(stop_signal), spec.replace(stop_signal=stop_signal)
    if stop_timeout is not None:
        spec = spec.replace(stop_timeout=check_timeout(stop_timeout))
    if restart is not None:
        spec = spec.replace(restart=restart)
    if requires is not None:
        spec = spec.replace(requires=requires)
    if log != NO_LOG_OPTIONS:
        spec = spec.replace(log=log_limits.changed(spec.log, log))
    _check_labels(spec.labels)
    return replace(config, spec=spec, stop_signal=number)


def clean_path(path: str) -> str:
    """Return a path of a container with what `..` means decided here, lexically."""
    return posixpath.normpath("/" + path.lstrip("/"))


def signal_number(text: str) -> int:
    """Return the number of a signal given as "TERM", "SIGTERM", "15" or "RTMIN+3". Raises BadRequest."""
    if text.isdecimal() and text.isascii() and len(text) < 4 and 1 <= int(text) < signal.NSIG:  # noqa: PLR2004
        return int(text)
    name = text.upper().removeprefix("SIG")
    if match := re.fullmatch(r"RTM(IN\+|AX-)(\d{1,2})", name):
        base, step = (signal.SIGRTMIN, 1) if match[1] == "IN+" else (signal.SIGRTMAX, -1)
        number = base + step * int(match[2])
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    found = getattr(signal, "SIG" + name, None)
    if isinstance(found, signal.Signals):
        return int(found)
    raise BadRequest(f"signal {text[:40]!r} is unknown", hint="a name such as TERM or a number such as 15")


def check_timeout(seconds: float) -> float:
    """Return the seconds between the stop signal and SIGKILL; below zero is for ever. Raises BadRequest."""
    if not math.isfinite(seconds):
        raise BadRequest(f"stop timeout {seconds} is no number of seconds", hint="-1 waits for ever")
    return seconds


def _environment(spec: RunSpec, image: RootImage, hostname: str) -> dict[str, str]:
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if spec.tty:
        env["TERM"] = "xterm"
    for entry in image.config.env:
        key, _, value = entry.partition("=")
        if key:
            env[key] = value
    env.update(spec.env)
    return env


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not key:
            raise BadRequest("label: the key is empty", hint="write KEY or KEY=value")
        no_nul(key + value, "label")


def _check_ulimit(name: str, soft: int, hard: int) -> None:
    if name not in ULIMITS:
        raise BadRequest(f"ulimit {name[:40]!r} is unknown", hint=f"known: {', '.join(ULIMITS)}")
    infinite = 1 << 64
    if soft < -1 or hard < -1 or max(soft, hard) >= infinite:
        raise BadRequest(f"ulimit {name}: {soft}:{hard} is out of range", hint="-1 is unlimited")
    if (infinite if soft == -1 else soft) > (infinite if hard == -1 else hard):
        raise BadRequest(f"ulimit {name}: the soft limit {soft} is above the hard limit {hard}")


def _check_user(user: str) -> None:
    if len(user) > USER_MAX or any(ord(char) <= ord(" ") for char in user) or user.count(":") > 1:
        raise BadRequest(f"user {user[:60]!r} is malformed", hint="USER, UID, USER:GROUP or UID:GID")
    for part in user.split(":"):
        if part.lstrip("+-").isdecimal() and not (
            part.isascii() and part.isdecimal() and len(part) <= 10 and int(part) < 2**32 - 1  # noqa: PLR2004
        ):
            raise BadRequest(f"user {user!r}: {part} is no user or group id", hint="0 to 4294967294")
    if user.endswith(":") or user.startswith(":"):
        raise BadRequest(f"user {user!r}: nothing stands on one side of ':'")


def _check_hostname(hostname: str | None) -> None:
    if hostname is not None and (len(hostname) > HOSTNAME_MAX or not HOSTNAME.fullmatch(hostname)):
        raise BadRequest(
            f"hostname {hostname[:70]!r} is not allowed",
            hint="letters, digits, '-' and '.', at most 63, not at an end",
        )
