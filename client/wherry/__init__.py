"""wherry: run and look after containers on this machine.

    from wherry import Client, RunSpec

    with Client() as client:
        result = client.run(RunSpec(image="host", command=("echo", "hi"), auto_remove=True)).check()

Owns the names that users import, and loads what stands behind one when it is first asked for: a
script that needs the plain client never pays for anyio.
"""

from __future__ import annotations

from importlib import import_module

from wherry_protocol import SOFTWARE_VERSION as __version__  # noqa: N811 - the name that scripts expect
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.async_client import AsyncClient
    from wherry.async_event_stream import AsyncEventStream
    from wherry.client import Client
    from wherry.errors import (
        BadRequest,
        Busy,
        CommandNotExecutable,
        CommandNotFound,
        Conflict,
        ConnectionFailed,
        ContainerFailed,
        ImageError,
        InternalError,
        KernelFailure,
        NoSpace,
        NotFound,
        ProtocolError,
        UnknownOperation,
        Unsupported,
        WherryError,
    )
    from wherry.event_stream import EventStream
    from wherry.result import Result
    from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus, MountPoint
    from wherry_protocol.containers import Created, Output, Started
    from wherry_protocol.event_log import Event, Missed
    from wherry_protocol.health import Health, HealthCheck, Probe
    from wherry_protocol.housekeeping import Pruned, Usage
    from wherry_protocol.images import ImageSummary
    from wherry_protocol.log_options import LogDropped, LogGap, LogOptions
    from wherry_protocol.networks import Endpoint, EndpointSpec, NetworkSummary
    from wherry_protocol.restarts import RestartPolicy
    from wherry_protocol.run_spec import RunSpec, Tmpfs, Ulimit, Volume
    from wherry_protocol.stats import Stats, StatsSample
    from wherry_protocol.system import Pong, Progress, SystemInfo, VersionInfo
    from wherry_protocol.volumes import VolumeSummary

__all__ = [
    "AsyncClient", "AsyncEventStream", "BadRequest", "Busy", "Client", "CommandNotExecutable",
    "CommandNotFound", "Conflict", "ConnectionFailed", "ContainerDetails", "ContainerFailed",
    "ContainerSummary", "Created", "Endpoint", "EndpointSpec",
    "Event", "EventStream", "ExitStatus", "Health", "HealthCheck",
    "ImageError", "ImageSummary", "InternalError", "KernelFailure", "LogDropped", "LogGap",
    "LogOptions", "Missed", "MountPoint",
    "NetworkSummary", "NoSpace",
    "NotFound", "Output", "Pong", "Probe", "Progress", "ProtocolError", "Pruned", "RestartPolicy",
    "Result", "RunSpec",
    "Started", "Stats", "StatsSample", "SystemInfo", "Tmpfs", "Ulimit", "UnknownOperation", "Unsupported",
    "Usage", "VersionInfo", "Volume", "VolumeSummary", "WherryError", "__version__",
]  # fmt: skip

_HOMES = {
    "wherry.async_client": "AsyncClient",
    "wherry.async_event_stream": "AsyncEventStream",
    "wherry.client": "Client",
    "wherry.event_stream": "EventStream",
    "wherry.result": "Result",
    "wherry_protocol.container_state": "ContainerDetails ContainerSummary ExitStatus MountPoint",
    "wherry_protocol.containers": "Created Output Started",
    "wherry_protocol.event_log": "Event Missed",
    "wherry_protocol.health": "Health HealthCheck Probe",
    "wherry_protocol.housekeeping": "Pruned Usage",
    "wherry_protocol.images": "ImageSummary",
    "wherry_protocol.log_options": "LogDropped LogGap LogOptions",
    "wherry_protocol.networks": "Endpoint EndpointSpec NetworkSummary",
    "wherry_protocol.restarts": "RestartPolicy",
    "wherry_protocol.run_spec": "RunSpec Tmpfs Ulimit Volume",
    "wherry_protocol.stats": "Stats StatsSample",
    "wherry_protocol.system": "Pong Progress SystemInfo VersionInfo",
    "wherry_protocol.volumes": "VolumeSummary",
    "wherry.errors": (
        "BadRequest Busy CommandNotExecutable CommandNotFound Conflict ConnectionFailed ContainerFailed "
        "ImageError InternalError KernelFailure NoSpace NotFound ProtocolError UnknownOperation "
        "Unsupported WherryError"
    ),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'wherry' has no attribute {name!r}")
