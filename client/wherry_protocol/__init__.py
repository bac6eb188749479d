"""What wherry's processes say to each other: values, requests, errors, and the bytes they travel as.

Owns the mapping between bytes and values. Never does IO, never reads a clock,
imports nothing but the standard library and msgpack.

    value.py        the base of every value: frozen, keyword-only, checked on arrival
    errors.py       the exception tree and the closed set of error codes
    system.py       hello, ping, version, info
    containers.py   run specifications, container states and every container request
    images.py       image requests
    codec.py        values <-> msgpack
    connection.py   the sans-IO protocol state machine (framing, limits, fds that ride along)
"""

PROTOCOL_VERSION = 1
"""Raised when an old peer could misread what a new one says; a new optional field does not raise it."""
