"""Extended headers of POSIX pax archives: records `length key=value`. Never reads, never touches the disk."""

from __future__ import annotations

from wherryd.images.broken import BrokenArchive

Records = dict[bytes, bytes]

_MAX_DIGITS = 20
_NANOSECONDS = 9
_MAX_EXPONENT = 3  # digits: a float has no more
_XATTR = b"SCHILY.xattr."


def parse(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records in order: GNU sparse maps repeat keys. Raises BrokenArchive."""
    records: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + _MAX_DIGITS)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        equals = data.find(b"=", space, end)
        if not at < end <= len(data) or data[end - 1 : end] != b"\n" or equals < 0:
            raise BrokenArchive("an extended header is malformed")
        records.append((data[space + 1 : equals], data[equals + 1 : end - 1]))
        at = end
    return records


def apply(records: Records, new: list[tuple[bytes, bytes]]) -> None:
    """Put records over older ones; an empty value takes a key away."""
    for key, value in new:
        if value or key.startswith(_XATTR):
            records[key] = value
        else:
            records.pop(key, None)


def whole(value: bytes, key: str) -> int:
    """Return a decimal number, never negative. Raises BrokenArchive."""
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise BrokenArchive(f"an extended header's {key} is no number")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """Return a time in seconds, with or without a fraction, as nanoseconds. Raises BrokenArchive.

    Python's tarfile writes a fraction below a tenth of a millisecond as `1e-05`; other exponents are none's.
    """
    sign = -1 if value.startswith(b"-") else 1
    number, small, exponent = value.removeprefix(b"-").partition(b"e-")
    seconds, _, fraction = number.partition(b".")
    digits = (seconds or b"0", fraction or b"0", exponent if small else b"0")
    if not all(map(bytes.isdigit, digits)) or len(seconds) > _MAX_DIGITS or len(exponent) > _MAX_EXPONENT:
        raise BrokenArchive("an extended header's mtime is no time")
    if small:
        shifted = seconds.rjust(len(seconds) + int(exponent), b"0")
        point = len(shifted) - int(exponent)
        seconds, fraction = shifted[:point], shifted[point:] + fraction
    return sign * int((seconds or b"0") + fraction[:_NANOSECONDS].ljust(_NANOSECONDS, b"0"))


def xattrs(records: Records) -> tuple[tuple[bytes, bytes], ...]:
    """Return the extended attributes that an image may bring: `user.` ones and file capabilities.

    overlayfs' own control data (`user.overlay.`, `trusted.overlay.`) and labels of the machine that made
    the archive (`security.selinux` …) are left out.
    """
    found: list[tuple[bytes, bytes]] = []
    for key, value in records.items():
        if key.startswith(_XATTR):
            name = key[len(_XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")
            if name == b"security.capability" or (
                name.startswith(b"user.") and not name.startswith(b"user.overlay.")
            ):
                found.append((name, value))
    return tuple(found)
