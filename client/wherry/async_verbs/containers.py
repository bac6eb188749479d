"""The async client's verbs about containers: from create to remove."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry.result import Collector
from wherry.spec import absolute
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.async_event_stream import AsyncEventStream
    from wherry.result import Result
    from wherry_protocol import containers
    from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
    from wherry_protocol.containers import Created, Output, Started
    from wherry_protocol.run_spec import RunSpec
    from wherry_protocol.system import Progress
else:
    containers = Lazy("wherry_protocol.containers")


class AsyncContainerVerbs(AsyncVerbsBase):
    """One method per verb about containers."""

    async def create(self, spec: RunSpec) -> Created:
        """Make a container without starting it. Raises Conflict if the name is taken, ImageError."""
        return await self.call(containers.Create(spec=absolute(spec)))

    async def run(
        self,
        spec: RunSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as subprocess.run calls it
        on_output: Callable[[Output], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Result:
        r"""Run a container to its end and return its exit and everything it printed.

        `input` is fed to standard input, which then ends. `on_output` sees every piece of output as
        it comes, `on_progress` how far an image's extraction is. If one of them raises, or the
        program ends, the container runs on.

        Raises CommandNotFound, CommandNotExecutable, ImageError, Conflict, KernelFailure: then
        nothing is left of the container. A command that fails is no exception: see Result.check().

        Example:
            result = client.run(RunSpec(image="host", command=("echo", "hi"), auto_remove=True))
            assert (result.exit_code, result.stdout) == (0, b"hi\n")

        """
        if input is not None:
            spec = spec.replace(stdin=True)
        collector = Collector(on_output, on_progress)
        async with self.run_stream(spec) as stream:
            status = await stream.drain(collector, input)
        return collector.result(status)

    async def run_detached(self, spec: RunSpec) -> Created:
        """Start a container and return as soon as its command is executing. Raises as run() does."""
        return await self.call(containers.Run(spec=absolute(spec)))

    def run_stream(self, spec: RunSpec) -> AsyncEventStream[Progress | Started | Output, ExitStatus]:
        """Run a container and iterate over what happens; `answer` is its exit.

        With stdin or tty a descriptor rides along with Started: see `take_fd`.
        """
        return self.stream(containers.RunAttached(spec=absolute(spec)))

    def start_stream(self, ref: str) -> AsyncEventStream[Started | Output, ExitStatus]:
        """Start a created or exited container and iterate over what happens; `answer` is its exit."""
        return self.stream(containers.StartAttached(ref=ref))

    async def dry_run(self, spec: RunSpec) -> str:
        """Return, as text, the plan that run() would apply; nothing is made."""
        return await self.call(containers.DryRun(spec=absolute(spec)))

    async def start(self, ref: str) -> None:
        """Start a created or exited container; returns when its command is executing."""
        await self.call(containers.Start(ref=ref))

    async def stop(self, ref: str, timeout: float | None = None) -> ExitStatus:
        """Send the stop signal, after `timeout` seconds (None: the container's own) SIGKILL; return the exit.

        Of a container that has ended it is the exit it had.
        """
        return await self.call(containers.Stop(ref=ref, timeout=timeout))

    async def kill(self, ref: str, signal: str | int = "KILL") -> None:
        """Send a signal, by name or number, to the container's first process."""
        await self.call(
            containers.Kill(ref=ref, signal=str(int(signal)) if isinstance(signal, int) else signal)
        )

    async def restart(self, ref: str, timeout: float | None = None) -> None:
        """Stop the container as stop() does, if it runs, and start it again."""
        await self.call(containers.Restart(ref=ref, timeout=timeout))

    async def pause(self, ref: str) -> None:
        """Freeze every process of the container."""
        await self.call(containers.Pause(ref=ref))

    async def unpause(self, ref: str) -> None:
        """Let a paused container go on."""
        await self.call(containers.Unpause(ref=ref))

    async def wait(self, ref: str) -> ExitStatus:
        """Return the exit once the container has ended; at once if it has."""
        return await self.call(containers.Wait(ref=ref))

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove an ended container; with `force` a running one is killed first.

        With `volumes` go those that were made for it without a name, unless another container has them.
        """
        await self.call(containers.Remove(ref=ref, force=force, volumes=volumes))

    async def rename(self, ref: str, name: str) -> None:
        """Give a container another name."""
        await self.call(containers.Rename(ref=ref, name=name))

    async def inspect(self, ref: str) -> ContainerDetails:
        """Return everything about one container."""
        return await self.call(containers.Inspect(ref=ref))

    async def list(
        self,
        *,
        all: bool = False,  # noqa: A002 - as the command line calls it
        filters: Sequence[tuple[str, str]] = (),
    ) -> tuple[ContainerSummary, ...]:
        """Return containers, newest first: running and paused ones, with `all` every one.

        Filters are ("name", part), ("id", prefix), ("status", state), ("label", "key" or "key=value"),
        ("exited", code), ("ancestor", image), ("volume", name or host path),
        ("network", name). Same key twice: either;
        different keys: both.
        """
        return await self.call(containers.List(all=all, filters=tuple(filters)))

    async def logs(
        self,
        ref: str,
        *,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
        streams: tuple[int, ...] = (1, 2),
    ) -> bytes:
        """Return what the container printed so far: arguments as of log_stream()."""
        stream = self.log_stream(ref, tail=tail, since=since, until=until, streams=streams)
        async with stream as outputs:
            return b"".join([output.data async for output in outputs])

    def log_stream(
        self,
        ref: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
        streams: tuple[int, ...] = (1, 2),
    ) -> AsyncEventStream[Output, None]:
        """Iterate over what the container printed, with `follow` until it ends.

        `tail` is a number of lines from the end; `since` and `until` are seconds since the epoch;
        `streams` are 1 (stdout, or the terminal) and 2 (stderr). An Output with a `gap` has no data: it says
        what is missing there.
        """
        return self.stream(
            containers.Logs(ref=ref, follow=follow, tail=tail, since=since, until=until, streams=streams)
        )

    async def close_stdin(self, ref: str) -> None:
        """Give the container end of file on its standard input pipe."""
        await self.call(containers.CloseStdin(ref=ref))
