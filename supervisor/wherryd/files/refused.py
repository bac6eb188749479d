"""The one exception of the worker side: what was asked for cannot be done, and why."""


class Refused(Exception):  # noqa: N818 - it names what happened to the request
    """The text is one line; `kind` is a WherryError's code, as "not_found"; `hint` is what to do, or None."""

    def __init__(self, message: str, *, kind: str = "bad_request", hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.hint = hint
