"""What wherry's processes say to each other: values, requests, errors, and the bytes they travel as.

Owns the mapping between bytes and values. Never does IO, never reads a clock,
imports nothing but the standard library and msgpack.

    value.py        the base of every value: frozen, keyword-only, checked on arrival
    errors.py       the exception tree and the closed set of error codes
    system.py       hello, ping, version, info
    containers.py   run specifications, container states and every container request
    images.py       image requests
    volumes.py      volume requests
    housekeeping.py update, the prunes, what takes room
    event_log.py    what happened: events and the requests for them
    health.py       healthchecks and what they say
    waits.py        waits for the next end of a run, and for a removal
    stats.py        what containers use
    call.py         what a request is; operations.py: which requests there are
    convert.py      plain msgpack types -> values, checked
    codec.py        bytes <-> frames, within limits
    connection.py   the sans-IO protocol state machine (order, ids, fds that ride along) and its events.py
    typed.py        typing's names without typing's import time
"""

SOFTWARE_VERSION = "0.1.0"
"""The version of wherry that this package belongs to (pyproject.toml has the same)."""

PROTOCOL_VERSION = 1
"""Raised when an old peer could misread what a new one says; a new optional field does not raise it."""
