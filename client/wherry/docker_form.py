"""Containers in docker's words and field names, so that people's jq lines and templates work.

Owns the wording; pure: must never ask the supervisor or the clock.
"""

from __future__ import annotations

from wherry.human import human_duration
from wherry.port_form import bindings_document, ports_column, ports_document
from wherry.rfc3339 import rfc3339_seconds
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
    from wherry_protocol.health import Health, HealthCheck
    from wherry_protocol.run_spec import RunSpec

SHORT_ID = 12
_SHORT_COMMAND = 20
_NANO = 1_000_000_000


def container_row(summary: ContainerSummary, now: float, *, whole: bool = False) -> dict[str, Any]:
    """Return a row of `ps`; `whole` leaves ids and commands uncut."""
    return {
        "ID": summary.id if whole else summary.id[:SHORT_ID],
        "Image": summary.image,
        "Command": quoted(summary.command, whole=whole),
        "CreatedAt": rfc3339_seconds(summary.created_at),
        "RunningFor": human_duration(now - summary.created_at) + " ago",
        "Status": status(summary, now),
        "State": summary.state,
        "Names": summary.name,
        "Labels": ",".join(f"{key}={value}" for key, value in summary.labels.items()),
        "Mounts": ",".join(summary.mounts),
        "Networks": ",".join(summary.networks),
        "Ports": ports_column(summary.ports) if summary.ports else "",
        "OOMKilled": summary.oom_kills > 0,
        "Requires": ",".join(summary.requires),
        "NextStartAt": rfc3339_seconds(summary.next_start_at) if summary.next_start_at else "",
    }


def quoted(command: tuple[str, ...], *, whole: bool) -> str:
    """Return a command in quotes, cut to docker's width."""
    text = printable(" ".join(command))
    if not whole and len(text) > _SHORT_COMMAND:
        text = text[: _SHORT_COMMAND - 1] + "…"
    return f'"{text}"'


def printable(text: str) -> str:
    """Return text with what a terminal might obey, or cannot show, as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def status(summary: ContainerSummary, now: float) -> str:
    """Return what a container does in words: "Up 3 minutes", "Exited (0) 5 seconds ago"."""
    words = _status_words(summary, now) + _oom_words(summary)
    return f"{words} (log stuck: {summary.log_trouble})" if summary.log_trouble else words


def _oom_words(summary: ContainerSummary) -> str:
    if not summary.oom_kills:
        return ""
    if summary.exit is not None and summary.exit.oom_victim in {"init", "group"}:
        return " (OOM killed)"
    return f" ({summary.oom_kills} OOM kill{'s' if summary.oom_kills > 1 else ''})"


_HEALTH_WORDS = {"starting": "health: starting", "healthy": "healthy", "unhealthy": "unhealthy"}


def _status_words(summary: ContainerSummary, now: float) -> str:
    up = f"Up {human_duration(now - (summary.started_at or now))}"
    match summary.state:
        case "running":
            return f"{up} ({_HEALTH_WORDS[summary.health]})" if summary.health else up
        case "paused":
            return f"{up} (Paused)"
        case "created":
            return "Created"
        case _:
            word = "Exited" if summary.state == "exited" else "Restarting"
            code = summary.exit.exit_code if summary.exit else None
            ago = human_duration(now - (summary.finished_at or now))
            return f"{word} ({'unknown' if code is None else code}) {ago} ago{_next_words(summary, now)}"


def _next_words(summary: ContainerSummary, now: float) -> str:
    if summary.next_start_at is None:
        return ""
    seconds = summary.next_start_at - now
    return ", next try now" if seconds < 1 else f", next try in {human_duration(seconds)}"


def container_document(details: ContainerDetails) -> dict[str, Any]:
    """Return the document of `inspect`."""
    from wherry.log_form import dropped_document
    from wherry.network_form import network_settings
    from wherry.volume_form import mount_documents  # `ps` needs this module, and not that one

    summary, spec = details.summary, details.spec
    return {
        "Id": summary.id,
        "Created": rfc3339_seconds(summary.created_at),
        "Path": details.path,
        "Args": list(details.args),
        "State": _state(details),
        "Image": details.image_digest or summary.image,
        "ResolvConfPath": f"{details.directory}/resolv.conf",
        "HostnamePath": f"{details.directory}/hostname",
        "HostsPath": f"{details.directory}/hosts",
        "LogPath": details.log_path,
        "LogDropped": dropped_document(details.log_dropped),
        "Name": f"/{summary.name}",
        "RestartCount": details.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": _host_config(spec),
        "Mounts": mount_documents(details.mounts, spec.tmpfs),
        "Config": _config(details),
        "NetworkSettings": {"Ports": ports_document(summary.ports), **network_settings(details)},
        "CgroupPath": details.cgroup_path,
    }


def _state(details: ContainerDetails) -> dict[str, Any]:
    summary = details.summary
    return {
        "Status": summary.state,
        "Running": summary.state in {"running", "paused", "restarting"},
        "Paused": summary.state == "paused",
        "Restarting": summary.state == "restarting",
        "OOMKilled": summary.exit.oom_killed if summary.exit else summary.oom_kills > 0,
        "OOMKills": summary.oom_kills,
        "OOMVictim": (summary.exit.oom_victim if summary.exit else None) or "",
        "Dead": False,
        "Pid": details.pid or 0,
        "ExitCode": _exit_code(summary.exit),
        "Error": details.start_error or (summary.exit.error if summary.exit else None) or "",
        "StartedAt": rfc3339_seconds(summary.started_at),
        "FinishedAt": rfc3339_seconds(summary.finished_at),
        **({"NextStartAt": rfc3339_seconds(summary.next_start_at)} if summary.next_start_at else {}),
        **({"Health": _health(details.health)} if details.health else {}),
    }


def _health(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": rfc3339_seconds(probe.started_at), "End": rfc3339_seconds(probe.ended_at),
                "ExitCode": probe.exit_code, "Output": probe.output,
            }
            for probe in health.log
        ],
    }  # fmt: skip


def _health_check(check: HealthCheck) -> dict[str, Any]:
    """Return how the health is found out; times are nanoseconds, as docker has them."""
    return {
        "Test": list(check.test),
        "Interval": _nanoseconds(check.interval),
        "Timeout": _nanoseconds(check.timeout),
        "StartPeriod": _nanoseconds(check.start_period),
        "StartInterval": _nanoseconds(check.start_interval),
        "Retries": check.retries,
    }


def _nanoseconds(seconds: float | None) -> int:
    return round((seconds or 0) * _NANO)


def _exit_code(status_: ExitStatus | None) -> int | None:
    """Return docker's code: 0 while nothing has ended; null when nobody knows."""
    return status_.exit_code if status_ is not None else 0


def _host_config(spec: RunSpec) -> dict[str, Any]:
    from wherry.limit_form import limit_fields
    from wherry.log_form import log_config
    from wherry.volume_form import bind_text

    return {
        "Binds": [bind_text(volume) for volume in spec.volumes if volume.source],
        "VolumesFrom": list(spec.volumes_from) or None,
        "NetworkMode": spec.network,
        "PortBindings": bindings_document(spec.ports),
        "PublishAllPorts": spec.publish_all,
        "Dns": list(spec.dns),
        "DnsSearch": list(spec.dns_search),
        "DnsOptions": list(spec.dns_options),
        "ExtraHosts": list(spec.extra_hosts) or None,
        "RestartPolicy": {"Name": spec.restart.name, "MaximumRetryCount": spec.restart.max_retries},
        "Requires": list(spec.requires),
        "LogConfig": log_config(spec.log),
        "AutoRemove": spec.auto_remove,
        "Privileged": False,
        "ReadonlyRootfs": spec.read_only,
        "Init": spec.init,
        **limit_fields(spec.limits),
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in spec.ulimits],
        "Tmpfs": {t.target: _tmpfs_options(t.size, t.mode, t.read_only, t.exec) for t in spec.tmpfs},
    }


def _tmpfs_options(size: int | None, mode: int, read_only: bool, executable: bool) -> str:
    options = ["ro" if read_only else "rw", "exec" if executable else "noexec", f"mode={mode:o}"]
    return ",".join(options if size is None else [*options, f"size={size}"])


def _config(details: ContainerDetails) -> dict[str, Any]:
    spec = details.spec
    return {
        "Hostname": details.hostname,
        "User": details.user,
        "AttachStdin": spec.stdin,
        "Tty": spec.tty,
        "OpenStdin": spec.stdin,
        "Env": _env(details.env),
        "Cmd": list(spec.command) or None,
        "Image": details.summary.image,
        "WorkingDir": details.workdir,
        "Entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "Labels": dict(spec.labels),
        "StopSignal": details.stop_signal,
        "StopTimeout": _whole(spec.stop_timeout),
        **({"ExposedPorts": {port: {} for port in details.exposed_ports}} if details.exposed_ports else {}),
        **({"Healthcheck": _health_check(details.health_check)} if details.health_check else {}),
    }


def _env(env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in env.items()]


def _whole(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else seconds
