"""The keys that leave a container running: how they are written, and finding them among keystrokes.

Pure: must never read or write the bytes.
"""

from __future__ import annotations

from wherry_protocol.errors import BadRequest

DEFAULT_KEYS = b"\x10\x11"
"""ctrl-p, ctrl-q: docker's."""

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse_keys(text: str | None) -> bytes:
    """Read "ctrl-p,ctrl-q" or "a,b,ctrl-@": single keys with commas between. Raises BadRequest."""
    if not text:
        return DEFAULT_KEYS
    return bytes(map(_key, text.split(",")))


def _key(text: str) -> int:
    control = text.removeprefix("ctrl-").lower()
    if text.startswith("ctrl-") and len(control) == 1 and control in _CONTROL:
        return _CONTROL.index(control)
    if len(text) == 1 and text.isascii() and text.isprintable():
        return ord(text)
    raise BadRequest(
        f"--detach-keys: {text!r} is no key", hint="write a letter, or ctrl- and one of a-z @ [ ] ^ _"
    )


class DetachKeys:
    """Watches keystrokes for a sequence of keys."""

    def __init__(self, keys: bytes = DEFAULT_KEYS) -> None:
        self._keys = keys
        self._held = b""
        self.detached = False

    def feed(self, typed: bytes) -> bytes:
        """Return the keystrokes to pass on; what may begin the sequence waits for the keys after it."""
        passed = bytearray()
        for key in typed:
            self._held += bytes([key])
            while not self._keys.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                self.detached = True
                break
        return bytes(passed)
