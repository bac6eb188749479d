"""From a request to execute beside a container's first process to the plan of it: checks and defaults.

Owns the refusals: bad input ends here. What it does not say is as in the container's own plan, so that a
sandbox has one policy for all of its processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict
from wherryd.containers import config
from wherryd.containers.lifecycle import Phase
from wherryd.launcher.exec_plan import ExecPlan

if TYPE_CHECKING:
    from wherry_protocol.processes import ExecSpec
    from wherryd.containers.container import Container, Run
    from wherryd.launcher.exec_plan import Sandbox


def check_spec(spec: ExecSpec) -> None:
    """Refuse what can be refused without looking. Raises BadRequest naming field and value."""
    if not spec.args or not spec.args[0]:
        raise BadRequest("exec: no command is given", hint="write it after the container")
    config.check_process(spec, spec.args)
    if spec.tty and spec.streams:
        raise BadRequest("exec: with a terminal no stream rides along")
    if not set(spec.streams) <= {0, 1, 2} or list(spec.streams) != sorted(set(spec.streams)):
        raise BadRequest(f"exec: streams {spec.streams} are not some of 0, 1 and 2 in order")


def running(container: Container) -> Run:
    """Return the run that a process can be added to. Raises Conflict."""
    if container.phase is Phase.PAUSED:
        raise Conflict(f"container {container.name} is paused", hint="unpause it first")
    if container.run is None or container.phase is not Phase.RUNNING:
        raise Conflict(f"container {container.name} is not running", hint="see 'wherry ps -a'")
    return container.run


def plan_exec(container: Container, sandbox: Sandbox, spec: ExecSpec) -> ExecPlan:
    """Return the plan of a process beside the container's first one; it may be executed more than once."""
    terminal = {"TERM": "xterm"} if spec.tty else {}
    return ExecPlan(
        id=container.id,
        sandbox=sandbox,
        terminal=spec.tty,
        console_size=spec.tty_size,
        streams=spec.streams,
        cwd=config.clean_path(spec.workdir or container.config.workdir),
        user=spec.user or container.config.user,
        env={**terminal, **container.config.env, **spec.env},
        args=spec.args,
    )
