"""The exceptions of the worker side: an archive that is broken, unsafe or refused."""


class BrokenArchive(Exception):  # noqa: N818 - it names what it says of the archive
    """The text is one clause that names the entry where there is one; `hint` is what to do, or None."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class TooShort(BrokenArchive):
    """The bytes end where there should be more."""

    def __init__(self) -> None:
        super().__init__("the archive is truncated")


def shown(name: bytes) -> str:
    """Return an entry's name as an error shows it: printable, and not endless."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:200])
    return f"{text}…" if len(name) > 200 else text  # noqa: PLR2004 - as cut above
