# Made from async_verbs/processes.py by tests/client/generate_verbs.py: change that one.
"""The plain client's verbs about processes of running containers: exec, top, attach."""

from __future__ import annotations

import os

from wherry.streams import PIPE
from wherry.verbs.base import VerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry import process, streams
    from wherry.event_stream import EventStream
    from wherry.result import ExecResult
    from wherry.streams import Target
    from wherry_protocol import processes
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.containers import Output, Started
    from wherry_protocol.processes import ExecStarted, ExecSummary, Process
else:
    process = Lazy("wherry.process")
    processes = Lazy("wherry_protocol.processes")
    streams = Lazy("wherry.streams")


_ID_BYTES = 32


class ProcessVerbs(VerbsBase):
    """One method per verb about processes of running containers."""

    def exec(
        self,
        ref: str,
        args: Sequence[str],
        *,
        input: bytes | None = None,  # noqa: A002 - as subprocess.run calls it
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str = "",
        tty: bool = False,
        tty_size: tuple[int, int] | None = None,
    ) -> ExecResult:
        r"""Run a command in a running container to its end and return its exit and everything it printed.

        It has the namespaces, limits and privileges of the container's first process, and its environment
        with `env` added. `workdir` and `user` are the container's unless given. `input` is fed to standard
        input, which then ends. With `tty` the command has a terminal, whose output is `stdout`.
        If the program ends meanwhile, the command is killed.

        Raises NotFound, Conflict (not running, or paused), CommandNotFound, CommandNotExecutable.
        A command that fails is no exception: see Result.check().

        Example:
            result = client.exec("web", ["cat", "/etc/hostname"]).check()

        """
        self.announce()
        stdin = None if input is None else PIPE
        hears = process.HEARS_ENDS
        pipes = streams.Streams() if tty else streams.Streams(stdin, PIPE, PIPE, told=hears)
        with self._process(ref, args, pipes, env, workdir, user, tty, tty_size) as command:
            return command.communicate(input)

    def popen(
        self,
        ref: str,
        args: Sequence[str],
        *,
        stdin: Target = None,
        stdout: Target = PIPE,
        stderr: Target = PIPE,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str = "",
        tty: bool = False,
        tty_size: tuple[int, int] | None = None,
    ) -> process.Process:
        """Start a command in a running container and talk to it: enter what is returned with `with`.

        `stdin`, `stdout` and `stderr` are as subprocess.Popen takes them: PIPE, DEVNULL (also None), a
        descriptor or a file; STDOUT for standard error. They become the command's own, which may do with them
        what it likes: hand over no file that the container must not own. The other arguments are exec()'s.

        Example:
            with client.popen("web", ["tail", "-f", "/log"]) as process:
                for line in process.stdout: …

        """
        pipes = streams.Streams() if tty else streams.Streams(stdin, stdout, stderr)
        return self._process(ref, args, pipes, env, workdir, user, tty, tty_size)

    def _process(
        self,
        ref: str,
        args: Sequence[str],
        pipes: streams.Streams,
        env: Mapping[str, str] | None,
        workdir: str | None,
        user: str,
        tty: bool,
        tty_size: tuple[int, int] | None,
    ) -> process.Process:
        try:
            spec = processes.ExecSpec(
                args=tuple(args), env=env or {}, workdir=workdir, user=user,
                tty=tty, tty_size=tty_size, streams=pipes.numbers,
            )  # fmt: skip
            call = processes.Exec(ref=ref, spec=spec, exec_id=os.urandom(_ID_BYTES).hex())
        except BaseException:
            pipes.close()
            raise
        return process.Process(self, call, pipes)

    def exec_detached(
        self,
        ref: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str = "",
        tty: bool = False,
    ) -> ExecStarted:
        """Start a command in a running container that goes on by itself. What it prints is dropped."""
        spec = processes.ExecSpec(args=tuple(args), env=env or {}, workdir=workdir, user=user, tty=tty)
        return self.call(processes.ExecDetached(ref=ref, spec=spec))

    def execs(self, ref: str | None = None) -> tuple[ExecSummary, ...]:
        """Return the commands that exec started in a container (None: in any) and that run still."""
        return self.call(processes.ExecList(ref=ref))

    def top(self, ref: str) -> tuple[Process, ...]:
        """Return every process of a running container, in the order of their start.

        Executes nothing in the container: it is what the host's kernel says.
        """
        return self.call(processes.Top(ref=ref))

    def attach_stream(self, ref: str, *, logs: bool = False) -> EventStream[Started | Output, ExitStatus]:
        """Iterate over what a running container prints from now, with `logs` from its start.

        `answer` is its exit.
        With a terminal, or standard input kept open, a descriptor rides along with Started: see `take_fd`.
        """
        return self.stream(processes.Attach(ref=ref, logs=logs))
