"""An image's config: its JSON, checked, as values; and the config of an image that is made from another.

Formats: OCI image-spec config.md, and what docker adds to it (Healthcheck, Shell). Both sides use it: the
worker refuses what is malformed, the supervisor reads what the worker let through. Pure.
"""

from __future__ import annotations

import json
import math
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard

from wherryd.images.broken import BrokenArchive
from wherryd.images.reference import Healthcheck, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_LAYERS = 500
"""overlayfs takes no more (OVL_MAX_STACK)."""
MAX_CONFIG = 512 << 10
"""Bytes: an answer about an image has to fit into a frame of the control socket. Real ones have 10 KiB."""
MAX_DEPTH = 32
"""As of a frame."""

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PORT = re.compile(r"\d{1,5}(-\d{1,5})?/(tcp|udp|sctp)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NANO = 1e9
_SHOWN = 60
_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386",
    "loongarch64": "loong64",
}  # fmt: skip


def architecture(machine: str) -> str:
    """Return Go's name, which images use, for the machine of uname(2)."""
    return _ARCHITECTURES.get(machine, machine)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Say whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Say whether a JSON value is a list."""
    return isinstance(value, list)


def parse_json(text: bytes | str, what: str) -> dict[str, Any]:
    """Return a JSON object that is no deeper than it should be. Raises BrokenArchive naming `what`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenArchive(f"{what} is no JSON: {error}"[:200]) from None
    if not is_object(found) or _depth(found) > MAX_DEPTH:
        raise BrokenArchive(f"{what} is no JSON object, or a very deep one")
    return found


def digest_of(value: Any, what: str) -> str:
    """Return the hex digits of a "sha256:…". Raises BrokenArchive."""
    found = _DIGEST.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise BrokenArchive(f"{what}: {value!r:.80} is no sha256 digest")
    return found[1]


def diff_ids(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the digests of a config's layers as hex, bottom first. Raises BrokenArchive."""
    rootfs = document.get("rootfs")
    found = rootfs.get("diff_ids") if is_object(rootfs) else None
    if not is_list(found) or not found:
        raise BrokenArchive("the image's config names no layers")
    if len(found) > MAX_LAYERS:
        raise BrokenArchive(f"the image has {len(found)} layers; overlayfs takes {MAX_LAYERS}")
    return tuple(digest_of(each, "the image's config: a layer") for each in found)


def created_at(document: Mapping[str, Any]) -> float:
    """Return when the image was made, in seconds since the epoch; now, if it does not say."""
    text = document.get("created")
    try:
        # Python 3.11 takes at most six digits of a fraction
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(text)))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return time.time()


def check_history(document: Mapping[str, Any]) -> None:
    """Refuse a history that is not a list of steps. Raises BrokenArchive."""
    found = document.get("history")
    if found is not None and not (is_list(found) and all(map(is_object, found))):
        raise BrokenArchive("the image's config: history is no list of objects")


def rfc3339(seconds: float) -> str:
    """Return a time as configs have it."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat() + "Z"


def image_config(document: Mapping[str, Any]) -> ImageConfig:
    """Return what a config says about running its image. Raises BrokenArchive naming the field."""
    raw = document.get("config")
    if raw is None:
        return ImageConfig()
    if not is_object(raw):
        raise BrokenArchive("the image's config: config is no object")
    config = _Fields(raw)
    return ImageConfig(
        entrypoint=config.texts("Entrypoint"),
        cmd=config.texts("Cmd"),
        env=config.texts("Env"),
        working_dir=config.text("WorkingDir"),
        user=config.text("User"),
        stop_signal=config.text("StopSignal") or None,
        shell=config.texts("Shell"),
        exposed_ports=config.keys("ExposedPorts", lambda port: bool(_PORT.fullmatch(port))),
        volumes=config.keys("Volumes", lambda path: path.startswith("/")),
        labels=config.labels(),
        healthcheck=_healthcheck(config),
    )


class _Fields:
    """The fields of a JSON object, each taken as what it must be."""

    def __init__(self, raw: dict[str, Any], where: str = "") -> None:
        self._raw = raw
        self._where = where

    def inner(self, name: str) -> _Fields | None:
        value = self._raw.get(name)
        if value is None:
            return None
        return _Fields(self._is(name, value, is_object(value)), f"{name}.")

    def text(self, name: str) -> str:
        value = self._raw.get(name)
        return "" if value is None else str(self._is(name, value, _is_text(value)))

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._raw.get(name)
        if value is None:
            return ()
        if isinstance(value, str):  # as very old images have it
            value = ["/bin/sh", "-c", value]
        return tuple(self._is(name, value, is_list(value) and all(map(_is_text, value))))

    def keys(self, name: str, fits: Callable[[str], bool]) -> tuple[str, ...]:
        value = self._raw.get(name)
        if value is None:
            return ()
        found = self._is(name, value, is_object(value) and all(_is_text(k) and fits(k) for k in value))
        return tuple(sorted(found))

    def labels(self) -> dict[str, str]:
        value: Any = self._raw.get("Labels") or {}
        ok = is_object(value) and all(k and _is_text(k) and _is_text(v) for k, v in value.items())
        labels: dict[str, str] = self._is("Labels", value, ok)
        return labels

    def seconds(self, name: str) -> float:
        value = self._raw.get(name) or 0
        ok = type(value) in (int, float) and math.isfinite(value) and 0 <= value < 1e18  # noqa: PLR2004 - 30 years
        return float(self._is(name, value, ok)) / _NANO

    def count(self, name: str) -> int:
        value = self._raw.get(name) or 0
        return int(self._is(name, value, type(value) is int and 0 <= value < 1 << 31))

    def _is(self, name: str, value: Any, ok: bool) -> Any:
        if not ok:
            raise BrokenArchive(f"the image's config: {self._where}{name} is {value!r:.{_SHOWN}}")
        return value


def _is_text(value: Any) -> bool:
    """Say whether it is a string that can be passed on: JSON can write halves of characters."""
    return isinstance(value, str) and "\0" not in value and not _SURROGATE.search(value)


def _healthcheck(config: _Fields) -> Healthcheck | None:
    fields = config.inner("Healthcheck")
    if fields is None:
        return None
    test = fields.texts("Test")
    if not test:
        return None
    if test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise BrokenArchive(f"the image's config: Healthcheck.Test begins with {test[0]!r:.{_SHOWN}}")
    return Healthcheck(
        test=test,
        interval=fields.seconds("Interval"),
        timeout=fields.seconds("Timeout"),
        start_period=fields.seconds("StartPeriod"),
        start_interval=fields.seconds("StartInterval"),
        retries=fields.count("Retries"),
    )


def grown(
    base: str, layers: Sequence[str], changes: Mapping[str, Any], history: Mapping[str, str], machine: str
) -> str:
    """Return the JSON of a config that lays `changes` over the config `base` ("" for none).

    `layers` are the diff ids in hex of all its layers, bottom first; `history` may have `created_by`,
    `comment` and `author`. Raises BrokenArchive if a change is malformed.
    """
    document = parse_json(base, "the base's config") if base else {}
    now = rfc3339(time.time())
    past = document.get("history") or [{"created": now, "comment": "imported"}] * (len(layers) - 1)
    made: dict[str, Any] = {
        **{key: value for key, value in document.items() if key not in ("history", "rootfs", "container")},
        "architecture": document.get("architecture") or architecture(machine),
        "os": document.get("os") or "linux",
        "created": now,
        "config": {**(document.get("config") or {}), **changes},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
        "history": [*past, {"created": now, **{key: value for key, value in history.items() if value}}],
    }
    if history.get("author"):
        made["author"] = history["author"]
    if len(layers) > MAX_LAYERS:
        raise BrokenArchive(f"the image would have {len(layers)} layers; overlayfs takes {MAX_LAYERS}")
    image_config(made)
    text = json.dumps(made)
    if len(text) > MAX_CONFIG:
        raise BrokenArchive(f"its config has {len(text):,} bytes, more than {MAX_CONFIG:,}")
    return text


def _depth(value: Any) -> int:
    """Return how many objects and lists lie in one another."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [inner for each in level for inner in _inside(each)]
    return depth


def _inside(value: Any) -> list[Any]:
    if is_object(value):
        return list(value.values())
    return value if is_list(value) else []
