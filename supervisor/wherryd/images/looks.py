"""What a file that is no tar archive seems to be, for the error text. Never decides anything."""

from __future__ import annotations

_MAGIC = (
    (b"PK\x03\x04", "a zip file"),
    (b"\x7fELF", "a program"),
    (b"hsqs", "a squashfs image"),
    (b"QFI\xfb", "a qcow2 disk image"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"!<arch>\n", "a Debian package or ar archive"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"070701", "a cpio archive"),
    (b"LZIP", "lzip data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"#!", "a script"),
)


def describe(head: bytes) -> str:
    """Return "it looks like …" for the first bytes of a file."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return f"it looks like {name}"
    if not head.strip(b"\0"):
        return "it is empty" if not head else "it holds zeros"
    printable = sum(byte in b"\t\n\r" or byte >= 32 for byte in head)  # noqa: PLR2004 - the first printable one
    return (
        "it looks like text" if printable == len(head) and b"\x7f" not in head else "it looks like other data"
    )
