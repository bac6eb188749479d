"""Values cross the socket unchanged, and what is no value is refused by its field's name."""

from __future__ import annotations

import ast
import math
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forms import rounds

from wherry_protocol import containers
from wherry_protocol.codec import MAX_REQUEST, FrameReader, pack
from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
from wherry_protocol.errors import ErrorReply, WherryError, from_reply
from wherry_protocol.operations import MODULES, operations
from wherry_protocol.run_spec import RunSpec, Volume
from wherry_protocol.value import FieldError, Value

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.just("caf\udce9")
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False) | st.just(math.inf)
VALUES = [
    kind
    for module in [import_module(f"wherry_protocol.{name}") for name in MODULES]
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Value) and kind.__module__ == module.__name__
]
HINTS: dict[str, Any] = {
    "str": TEXT, "int": INTS, "float": FLOATS, "bool": st.booleans(), "bytes": st.binary(max_size=8),
    "State": st.sampled_from(["created", "running", "paused", "restarting", "exited"]),
    "HealthStatus": st.sampled_from(["starting", "healthy", "unhealthy"]),
    "Transport": st.sampled_from(["tcp", "udp"]),
    "Compression": st.sampled_from(["none", "gzip", "bzip2", "xz", "zstd"]),
    "PolicyName": st.sampled_from(["no", "on-failure", "always", "unless-stopped"]),
    "OomVictim": st.sampled_from(["init", "child", "group"]),
    "LogMode": st.sampled_from(["blocking", "non-blocking"]),
    "Propagation": st.sampled_from(["rprivate", "private", "rslave", "slave"]),
}  # fmt: skip


def strategy(hint: str) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a line a form
    """What a field with this annotation may hold."""
    hint = hint.strip()
    if hint.startswith("Literal["):
        return st.sampled_from(ast.literal_eval(hint.removeprefix("Literal")))
    if hint.endswith("| None"):
        return st.none() | strategy(hint.removesuffix("| None"))
    if hint in HINTS:
        return HINTS[hint]
    if hint.startswith("tuple["):
        inside = hint.removeprefix("tuple[").removesuffix("]")
        if inside.endswith(", ..."):
            return st.lists(strategy(inside.removesuffix(", ...")), max_size=3).map(tuple)
        return st.tuples(*map(strategy, inside.split(",")))
    if hint.startswith("Mapping[str,"):
        return st.dictionaries(
            TEXT, strategy(hint.removeprefix("Mapping[str,").removesuffix("]")), max_size=3
        )
    return values(next(kind for kind in VALUES if kind.__name__ == hint))


def values(kind: type[Value]) -> st.SearchStrategy[Value]:
    """Any value of a class."""
    hints = {
        name: hint for each in kind.__mro__ for name, hint in getattr(each, "__annotations__", {}).items()
    }
    return st.builds(kind, **{name: strategy(hints[name]) for name in kind._defaults})


@settings(deadline=None, max_examples=rounds(short=25, long=100))  # a loaded machine is no defect
@given(st.data())
@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_value_crosses_the_socket_unchanged(kind: type[Value], data: st.DataObject) -> None:
    """Bytes made from a value give the same value back, whatever its fields hold."""
    value = data.draw(values(kind))
    reader = FrameReader(MAX_REQUEST)
    reader.feed(pack(value.to_wire()))
    assert kind.from_wire(reader.next_frame()) == value


@pytest.mark.parametrize(
    ("wire", "names"),
    [
        ({}, "image: missing"),
        ({"image": 1}, "image: expected a string, got int"),
        ({"image": "x", "tty": 1}, "tty: expected true or false"),
        ({"image": "x", "stop_timeout": "1"}, "stop_timeout: expected a number"),
        ({"image": "x", "stop_timeout": True}, "stop_timeout: expected a number"),
        (
            {"image": "x", "volumes": [{"source": "", "target": "/", "propagation": "shared"}]},
            "volumes[0].propagation: expected one of rprivate",
        ),
        ({"image": "x", "command": "sh"}, "command: expected a list"),
        ({"image": "x", "command": ["sh", None]}, "command[1]: expected a string, got nil"),
        ({"image": "x", "volumes": [{"source": "/a"}]}, "volumes[0].target: missing"),
        ({"image": "x", "env": {1: "x"}}, "env: expected string keys, got int"),
        ({"image": "x", "env": {"A": 1}}, "env.A: expected a string"),
        ({"image": "x", "tty_size": [1]}, "tty_size: expected a list of 2"),
        ({"image": "x", "privileged": True}, "privileged: RunSpec has no such field"),
        (["image"], "RunSpec: expected a map, got a list"),
    ],
)
def test_a_wrong_field_is_named(wire: Any, names: str) -> None:
    """The error says which field is wrong, by its path, and what was expected."""
    with pytest.raises(FieldError) as caught:
        RunSpec.from_wire(wire)
    assert str(caught.value).startswith(names)


def test_an_answer_from_a_newer_supervisor_is_read_without_its_new_fields() -> None:
    """Old clients survive new optional fields, also inside other values."""
    wire = ContainerDetails(
        summary=ContainerSummary(id="a", name="b", image="c", command=(), state="exited", created_at=1.5),
        spec=RunSpec(image="c"), path="p", args=(), env={}, workdir="/", user="", hostname="h",
        stop_signal="SIGTERM", pid=None, image_digest=None, log_path="l", directory="d", cgroup_path="g",
    ).to_wire()  # fmt: skip
    wire["new"] = 1
    wire["summary"]["newer"] = 2
    assert containers.Inspect.answer_from_wire(wire).summary.name == "b"
    with pytest.raises(FieldError):
        ContainerDetails.from_wire(wire)


def test_values_are_frozen_and_hashable() -> None:
    """A value can be a key, and nobody changes it behind another's back."""
    value = RunSpec(image="x", env={"A": "1"}, volumes=(Volume(source="/a", target="/b"),))
    assert {value: 1}[value.replace()] == 1
    assert value.replace(tty=True) != value
    with pytest.raises(AttributeError, match="frozen"):
        value.image = "y"  # type: ignore[misc]
    with pytest.raises(TypeError, match="no field imag"):
        RunSpec(image="x", imag="y")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs the field image"):
        RunSpec()  # type: ignore[call-arg]


def test_every_error_class_arrives_as_itself() -> None:
    """The supervisor's exception is the client's, with all that it carries."""

    def below(kind: type[WherryError]) -> list[type[WherryError]]:
        return [kind, *(each for child in kind.__subclasses__() for each in below(child))]

    closed = [kind for kind in below(WherryError) if kind.__module__ == "wherry_protocol.errors"][1:]
    for kind in closed:
        arrived = from_reply(kind("m", hint="h", errno=2, path="/p").to_reply())
        assert type(arrived) is kind
        assert (arrived.message, arrived.hint, arrived.errno, arrived.path) == ("m", "h", 2, "/p")
    assert from_reply(ErrorReply(code="from the future", message="m")).code == "internal"


def test_no_operation_has_a_field_that_the_envelope_needs() -> None:
    """Request frames are flat: a field named id, op or fds would shadow the envelope's."""
    for operation, kind in operations().items():
        assert not {"id", "op", "fds"} & set(kind._defaults), operation


def test_exit_code_is_the_shells() -> None:
    """128+n for a signal, None when nobody knows."""
    assert ExitStatus(code=3).exit_code == 3
    assert ExitStatus(signal=9).exit_code == 137
    assert ExitStatus(error="lost").exit_code is None
    assert not ExitStatus(error="lost").ok
