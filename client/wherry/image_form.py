"""Images in docker's words and field names, so that people's jq lines and templates work.

Owns the wording; pure: must never ask the supervisor or the clock.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

from wherry.docker_form import SHORT_ID
from wherry.human import human_duration, human_size
from wherry.rfc3339 import NEVER, rfc3339_seconds
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry_protocol.images import ImageDetails, ImageSummary

NONE = "<none>"
_MISSING = "<missing>"
_CREATED_BY = 45
"""docker's width of a step."""


def image_rows(image: ImageSummary, now: float, *, whole: bool = False) -> list[dict[str, Any]]:
    """Return a row of `images` for each of an image's names."""
    return [
        {
            "ID": _short(image.digest, whole=whole), "Name": name, "Digest": image.digest,
            "Repository": repository, "Tag": tag,
            "CreatedAt": rfc3339_seconds(image.created_at),
            "CreatedSince": human_duration(now - image.created_at) + " ago",
            "Size": human_size(image.size), "Files": image.files, "Layers": image.layers,
            "Source": image.source,
        }
        for name in image.names or (NONE,)
        for repository, tag in (repository_and_tag(name),)
    ]  # fmt: skip


def repository_and_tag(name: str) -> tuple[str, str]:
    """Return both parts of a name; without a tag it is `latest`."""
    if name == NONE:
        return NONE, NONE
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def matches(image: ImageSummary, row: dict[str, Any], filters: Sequence[tuple[str, str]]) -> bool:
    """Say whether a row of `images` passes docker's filters. Raises BadRequest for one that is unknown."""
    return all(_passes(image, row, key, value) for key, value in filters)


def _passes(image: ImageSummary, row: dict[str, Any], key: str, value: str) -> bool:
    if key == "reference":
        full = f"{row['Repository']}:{row['Tag']}"
        return fnmatchcase(full, value) or fnmatchcase(str(row["Repository"]), value)
    if key == "label":
        name, equals, wanted = value.partition("=")
        return image.labels.get(name) == wanted if equals else name in image.labels
    if key == "dangling" and value in {"true", "false", "1", "0"}:
        return (not image.names) is (value in {"true", "1"})
    raise BadRequest(
        f"--filter {key}={value}: unknown", hint="reference=PATTERN, label=KEY[=VALUE], dangling=true"
    )


def image_document(details: ImageDetails) -> dict[str, Any]:
    """Return the document of `inspect --type image`."""
    summary, config = details.summary, config_of(details)
    return {
        "Id": summary.digest,
        "RepoTags": [":".join(repository_and_tag(name)) for name in summary.names],
        "RepoDigests": [],
        "Parent": "",
        "Comment": config.get("comment", ""),
        "Created": config.get("created") or rfc3339_seconds(summary.created_at),
        "Author": config.get("author", ""),
        "Config": config.get("config") or {},
        "Architecture": config.get("architecture", ""),
        "Variant": config.get("variant", ""),
        "Os": config.get("os", "linux"),
        "Size": summary.size,
        "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": ":".join(details.directories)}},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in details.layers]},
        "Files": summary.files,
        "Source": summary.source,
    }


def config_of(details: ImageDetails) -> dict[str, Any]:
    """Return an image's OCI config, {} for a plain archive."""
    found: dict[str, Any] = json.loads(details.config) if details.config else {}
    return found


def history_rows(
    details: ImageDetails, now: float, *, whole: bool = False, human: bool = True
) -> list[dict[str, Any]]:
    """Return the rows of `history`, newest first; only the newest is an image."""
    steps = _steps(details)
    sizes = [layer.size for layer in details.layers]
    rows: list[dict[str, Any]] = []
    for step in steps:
        size = 0 if step.get("empty_layer") or not sizes else sizes.pop(0)
        rows.append(_history_row(step, size, now, whole=whole, human=human))
    rows.reverse()
    rows[0]["ID"] = _short(details.summary.digest, whole=whole)
    return rows


def _steps(details: ImageDetails) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = config_of(details).get("history") or []
    missing = len(details.layers) - sum(not step.get("empty_layer") for step in steps)
    imported = {"comment": f"imported from {details.summary.source}"}
    return [*([imported] * missing), *steps]


def _history_row(step: dict[str, Any], size: int, now: float, *, whole: bool, human: bool) -> dict[str, Any]:
    created, by = str(step.get("created") or NEVER), str(step.get("created_by", "")).replace("\t", " ")
    return {
        "ID": _MISSING,
        "CreatedAt": created,
        "CreatedSince": _since(created, now),
        "CreatedBy": by if whole or len(by) <= _CREATED_BY else by[: _CREATED_BY - 1] + "…",
        "Size": human_size(size) if human else str(size),
        "Comment": str(step.get("comment", "")),
    }


def _since(created: str, now: float) -> str:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(created[:19] + "+00:00").timestamp()
    except ValueError:
        return "N/A"
    return "N/A" if created == NEVER else human_duration(now - moment) + " ago"


def _short(digest: str, *, whole: bool) -> str:
    return digest if whole else digest.removeprefix("sha256:")[:SHORT_ID]
