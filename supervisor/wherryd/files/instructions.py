"""The config of an image that is made from a container: what that was run with, and what is asked for.

Owns the words of `commit --change`, which are a Dockerfile's. Pure.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import BadRequest
from wherryd.images.configs import is_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wherryd.containers.config import Config

Fields = dict[str, Any]

_SHELL = ("/bin/sh", "-c")


def config_changes(config: Config, instructions: Iterable[str]) -> Fields:
    """Return fields of an OCI config's `config` to be laid over that of the container's image.

    Raises BadRequest for an instruction that cannot be read.
    """
    fields = _as_run(config)
    for line in instructions:
        word, _, rest = line.strip().partition(" ")
        apply = _WORDS.get(word.upper())
        if apply is None:
            raise BadRequest(
                f"--change {line!r:.100}: there is no instruction {word!r:.40} for an image's config",
                hint=f"one of {', '.join(_WORDS)}",
            )
        try:
            apply(fields, rest.strip())
        except ValueError as error:
            raise BadRequest(f"--change {line!r:.100}: {error}") from None
    return fields


def _as_run(config: Config) -> Fields:
    """Return what the container was run with, as docker commit keeps it."""
    spec, image = config.spec, config.image.config
    fields: Fields = {}
    if spec.entrypoint is not None:
        fields["Entrypoint"] = list(spec.entrypoint)
    if spec.command or spec.entrypoint is not None:
        fields["Cmd"] = list(spec.command)
    elif config.image.digest is None and image.cmd:
        fields["Cmd"] = list(image.cmd)
    fields["Env"] = _env(image.env, spec.env)
    given = {"WorkingDir": spec.workdir, "User": spec.user, "StopSignal": spec.stop_signal}
    fields.update({key: value for key, value in given.items() if value})
    fields["Labels"] = dict(spec.labels)
    fields["Volumes"] = _keys(image.volumes)
    fields["ExposedPorts"] = _keys(image.exposed_ports)
    return {key: value for key, value in fields.items() if value or key in ("Cmd", "Entrypoint")}


def _keys(names: Iterable[str]) -> dict[str, Fields]:
    """Return a set as JSON configs have it."""
    return {name: {} for name in names}


def _env(lines: Iterable[str], more: Mapping[str, str]) -> list[str]:
    found = _split(lines)
    return [f"{key}={value}" for key, value in {**found, **more}.items()]


def _command(key: str) -> Callable[[Fields, str], None]:
    def apply(fields: Fields, text: str) -> None:
        fields[key] = _words(text)
        if key == "Entrypoint":
            fields.setdefault("Cmd", [])

    return apply


def _words(text: str) -> list[str]:
    """Return the words of ["a", "b"], or a line for the shell."""
    if not text.startswith("["):
        return [*_SHELL, text] if text else []
    words: Any = json.loads(text)
    if not is_list(words) or not all(isinstance(word, str) for word in words):
        raise ValueError("expected a list of strings")
    return words


def _text(key: str) -> Callable[[Fields, str], None]:
    def apply(fields: Fields, text: str) -> None:
        if not text:
            raise ValueError("a value is missing")
        fields[key] = text

    return apply


def _pairs(text: str) -> dict[str, str]:
    """Return the pairs of K=V, several with quotes where needed; or of "K V"."""
    words = shlex.split(text)
    if not words or "=" not in words[0]:
        key, _, value = text.partition(" ")
        words = [f"{key}={value.strip()}"]
    pairs = _split(words)
    if not all(pairs) or not all("=" in word for word in words):
        raise ValueError("expected NAME=value")
    return pairs


def _split(lines: Iterable[str]) -> dict[str, str]:
    """Return NAME=value lines as a mapping."""
    parts = (line.partition("=") for line in lines)
    return {name: value for name, _, value in parts}


def _set_env(fields: Fields, text: str) -> None:
    fields["Env"] = _env(fields.get("Env", ()), _pairs(text))


def _set_labels(fields: Fields, text: str) -> None:
    fields["Labels"] = {**fields.get("Labels", {}), **_pairs(text)}


def _set_ports(fields: Fields, text: str) -> None:
    ports = _keys(port if "/" in port else f"{port}/tcp" for port in text.split())
    fields["ExposedPorts"] = {**fields.get("ExposedPorts", {}), **ports}


def _set_volumes(fields: Fields, text: str) -> None:
    paths = _words(text) if text.startswith("[") else text.split()
    fields["Volumes"] = {**fields.get("Volumes", {}), **_keys(paths)}


_WORDS: dict[str, Callable[[Fields, str], None]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _set_env,
    "EXPOSE": _set_ports,
    "LABEL": _set_labels,
    "STOPSIGNAL": _text("StopSignal"),
    "USER": _text("User"),
    "VOLUME": _set_volumes,
    "WORKDIR": _text("WorkingDir"),
}
