"""-v, --mount and --tmpfs: the grammar of what a container mounts.

Owns the reading of the three forms; must never check what only the supervisor can know.
"""

from __future__ import annotations

import os

from wherry.cli.options import labels
from wherry.human import parse_size
from wherry_protocol.errors import BadRequest
from wherry_protocol.run_spec import Tmpfs, Volume
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

SELINUX = "/sys/fs/selinux"

_WITHOUT_EFFECT = {"cached", "delegated", "consistent"}
"""For file systems shared with a virtual machine; docker ignores them on Linux too."""

_SHARED = {"shared", "rshared"}
_TRUE, _FALSE = {"", "true", "1"}, {"false", "0"}


def volume(text: str) -> Volume:
    """Read [SOURCE:]TARGET[:OPTIONS]: without a source it is a new volume without a name."""
    source, *rest = text.split(":")
    if not rest:
        source, rest = "", [source]
    if len(rest) > 2 or (not source and text.startswith(":")):  # noqa: PLR2004 - target and options
        raise BadRequest(f"-v {text!r}: expected SOURCE:TARGET, SOURCE:TARGET:OPTIONS or TARGET")
    if not rest[0].startswith("/"):
        raise BadRequest(f"-v {text!r}: the target {rest[0]!r} is not an absolute path")
    made = Volume(source=source, target=rest[0])
    for option in rest[1].split(",") if len(rest) > 1 else ():
        made = _option(made, option, f"-v {text!r}")
    return made


def _option(made: Volume, option: str, where: str) -> Volume:
    if option in {"ro", "rw"}:
        return made.replace(read_only=option == "ro")
    if option == "nocopy":
        return made.replace(copy=False)
    if option in {"z", "Z"}:
        return _relabelled(made, option, where)
    if option in _WITHOUT_EFFECT:
        return made
    return made.replace(propagation=_propagation(option, where))


def _relabelled(made: Volume, option: str, where: str) -> Volume:
    if os.path.exists(f"{SELINUX}/enforce"):
        raise BadRequest(
            f"{where}: {option}: files are not relabelled for SELinux", hint="chcon them, and leave it out"
        )
    from wherry.cli.main import complain

    complain(f"{where}: {option} has no effect: this machine has no SELinux")
    return made


def _propagation(word: str, where: str) -> Any:
    if word in _SHARED:
        raise BadRequest(
            f"{where}: {word} would show the container's mounts on the host",
            hint="rslave shows it the host's",
        )
    if word not in {"private", "rprivate", "slave", "rslave"}:
        raise BadRequest(f"{where}: {word!r} is not known", hint="ro, rw, nocopy, rslave, …")
    return word


# -- the long form ------------------------------------------------------------------------------------------

_LONG_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_TYPES = ("bind", "volume", "tmpfs")
_KEYS = {
    "bind": ("bind-propagation", "bind-nonrecursive", "bind-recursive", "consistency"),
    "volume": ("volume-nocopy", "volume-label", "volume-driver"),
    "tmpfs": ("tmpfs-size", "tmpfs-mode"),
}


def mount(text: str) -> Volume | Tmpfs:
    """Read type=bind|volume|tmpfs,source=…,target=…,… Raises BadRequest for the first mistake."""
    where = f"--mount {text!r}"
    pairs = _pairs(text, where)
    fields = dict(pairs)
    kind = fields.pop("type", "volume")
    if kind not in _TYPES:
        raise BadRequest(f"{where}: type {kind!r} is not known", hint=", ".join(_TYPES))
    _check_keys(fields, kind, where)
    target = fields.pop("target", "")
    if not target.startswith("/"):
        raise BadRequest(
            f"{where}: the target {target!r} is not an absolute path"
            if target
            else f"{where}: a target is missing"
        )
    make: Callable[..., Any] = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs}[kind]
    labels = [value for key, value in pairs if key == "volume-label"]
    made: Volume | Tmpfs = make(target, fields, labels, where)
    return made.replace(read_only=_switch(fields, "readonly", where))


def _pairs(text: str, where: str) -> list[tuple[str, str]]:
    import csv  # 2 ms that only this option pays

    try:
        (words,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error) as error:
        raise BadRequest(f"{where}: not a list of KEY=VALUE: {error}") from None
    found: list[tuple[str, str]] = []
    for word in words:
        key, _equals, value = word.partition("=")
        name = _LONG_NAMES.get(key, key)
        if name in dict(found) and name != "volume-label":
            raise BadRequest(f"{where}: {name} is given twice")
        found.append((name, value))
    return found


def _check_keys(fields: dict[str, str], kind: str, where: str) -> None:
    for key in fields:
        if key in ("source", "target", "readonly", *_KEYS[kind]):
            continue
        owner = next((other for other, keys in _KEYS.items() if key in keys), None)
        if owner is not None:
            raise BadRequest(f"{where}: {key} is for type={owner}, and this is type={kind}")
        raise BadRequest(
            f"{where}: {key!r} is not known", hint=f"source, target, readonly, {', '.join(_KEYS[kind])}"
        )


def _switch(fields: dict[str, str], key: str, where: str) -> bool:
    value = fields.get(key, "false").lower()
    if value not in _TRUE | _FALSE:
        raise BadRequest(f"{where}: {key}={value} is neither true nor false")
    return value in _TRUE


def _bind(target: str, fields: dict[str, str], _labels: list[str], where: str) -> Volume:
    source = fields.get("source", "")
    if not source:
        raise BadRequest(f"{where}: type=bind needs a source, a path of the host")
    word = fields.get("bind-recursive", "enabled")
    if word not in {"enabled", "disabled", "readonly"}:
        hint = "read-only is always recursive" if word == "writable" else "enabled, disabled or readonly"
        raise BadRequest(f"{where}: bind-recursive={word} cannot be", hint=hint)
    return Volume(
        source=source if "/" in source or source.startswith(".") else f"./{source}",
        target=target,
        recursive=word != "disabled" and not _switch(fields, "bind-nonrecursive", where),
        propagation=_propagation(fields.get("bind-propagation", "rprivate"), where),
    )


def _volume(target: str, fields: dict[str, str], texts: list[str], where: str) -> Volume:
    source = fields.get("source", "")
    if "/" in source:
        raise BadRequest(
            f"{where}: {source!r} is a path, and type=volume takes a volume's name", hint="type=bind"
        )
    if fields.get("volume-driver", "local") != "local":
        raise BadRequest(f"{where}: there is one driver: local")
    copy = not _switch(fields, "volume-nocopy", where)
    return Volume(source=source, target=target, copy=copy, labels=labels(texts))


def _tmpfs(target: str, fields: dict[str, str], _labels: list[str], where: str) -> Tmpfs:
    if "source" in fields:
        raise BadRequest(f"{where}: type=tmpfs has no source")
    made = Tmpfs(target=target)
    if "tmpfs-size" in fields:
        made = made.replace(size=parse_size(fields["tmpfs-size"], where))
    if "tmpfs-mode" in fields:
        made = made.replace(mode=_mode(fields["tmpfs-mode"], where))
    return made


def _mode(text: str, where: str) -> int:
    if not text or text.strip("01234567"):
        raise BadRequest(f"{where}: mode {text!r} is no octal number", hint="1777")
    return int(text, 8)


# -- tmpfs --------------------------------------------------------------------------------------------------

_SWITCHES: dict[str, dict[str, bool]] = {
    "ro": {"read_only": True}, "rw": {"read_only": False}, "exec": {"exec": True}, "noexec": {"exec": False},
    "nosuid": {}, "nodev": {},
}  # fmt: skip
"""nosuid and nodev are always so."""


def tmpfs(text: str) -> Tmpfs:
    """Read TARGET[:size=64m,mode=1777,ro,exec]."""
    target, _colon, options = text.partition(":")
    where = f"--tmpfs {text!r}"
    if not target.startswith("/"):
        raise BadRequest(f"{where}: the target {target!r} is not an absolute path")
    made = Tmpfs(target=target)
    for option in filter(None, options.split(",")):
        name, _equals, value = option.partition("=")
        if option in _SWITCHES:
            made = made.replace(**_SWITCHES[option])
        elif name == "size":
            made = made.replace(size=parse_size(value, where))
        elif name == "mode":
            made = made.replace(mode=_mode(value, where))
        else:
            raise BadRequest(f"{where}: {option!r} is not known", hint="size=64m, mode=1777, ro, exec")
    return made


def split(mounts: Iterable[Volume | Tmpfs]) -> tuple[tuple[Volume, ...], tuple[Tmpfs, ...]]:
    """Return the two kinds apart."""
    found = list(mounts)
    return (
        tuple(each for each in found if isinstance(each, Volume)),
        tuple(each for each in found if isinstance(each, Tmpfs)),
    )
