"""Sizes, durations and times as people write and read them.

Owns both directions; must never read a clock: the caller says what time it is.
"""

from __future__ import annotations

import re

from wherry_protocol.errors import BadRequest

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d{1,40})(\.\d+)?([bkmgt]?)(?:i?b)?", re.ASCII)
_SIZE_MAX = (1 << 63) - 1
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MINUTE, HOUR = 60, 3600
_HOURS = ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months"))


def parse_size(text: str, where: str) -> int:
    """Return bytes of "64m", "1.5g" or "4096". Raises BadRequest starting with `where`."""
    match = _SIZE.fullmatch(text.lower())
    if match is None:
        raise BadRequest(f"{where}: {text[:40]!r} is no size", hint="write 4096, 64k, 512m or 1g")
    unit = _UNITS[match[3]]
    size = int(match[1]) * unit + int(float(match[2] or 0) * unit)
    if size > _SIZE_MAX:
        raise BadRequest(f"{where}: {text[:40]} is out of range", hint="64 bits are the most")
    return size


def parse_duration(text: str, where: str) -> float:
    """Return seconds of "1m30s", "500ms" or "0". Raises BadRequest starting with `where`."""
    parts = _DURATION.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise BadRequest(f"{where}: {text!r} is no duration", hint="write 500ms, 30s, 1m30s or 2h")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_time(text: str, now: float, where: str) -> float:
    """Return seconds since the epoch of "2026-01-31T12:00:00Z", "1769860800.5" or "10m" (ago)."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now - sum(float(number) * _SECONDS[unit] for number, unit in parts)
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        hint = "write 2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago"
        raise BadRequest(f"{where}: {text!r} is no time", hint=hint) from None


_KILO = 1000
_KIBI = 1024


def human_size(size: float) -> str:
    """Return "12.3MB": decimal units, as docker."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < _KILO:
            return f"{size:.3g}{unit}" if unit != "B" else f"{size:.0f}B"
        size /= _KILO
    return f"{size:.3g}TB"


def binary_size(size: float) -> str:
    """Return "12.3MiB": binary units, as docker writes memory."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIBI:
            return f"{size:.4g}{unit}" if unit != "B" else f"{size:.0f}B"
        size /= _KIBI
    return f"{size:.4g}TiB"


def human_duration(seconds: float) -> str:
    """Return "5 seconds", "About a minute", "3 hours": in docker's words."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return {0: "Less than a second", 1: "1 second"}.get(whole, f"{whole} seconds")
    if whole < HOUR:
        return "About a minute" if whole < 2 * MINUTE else f"{whole // MINUTE} minutes"
    hours = round(seconds / HOUR)
    if hours == 1:
        return "About an hour"
    for below, unit, name in _HOURS:
        if hours < below:
            return f"{hours // unit} {name}"
    return f"{hours // (24 * 365)} years"
