"""The async client's verbs about the files of containers."""

from __future__ import annotations

import os

from wherry.async_verbs.base import AsyncVerbsBase, ignore
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry import local_files
    from wherry.async_event_stream import AsyncEventStream
    from wherry_protocol import files
    from wherry_protocol.files import Change, Compression, Packed
    from wherry_protocol.images import ImageSummary
    from wherry_protocol.system import Progress
else:
    files = Lazy("wherry_protocol.files")
    local_files = Lazy("wherry.local_files")


class AsyncFileVerbs(AsyncVerbsBase):
    """One method per verb about the files of containers."""

    async def export(
        self,
        ref: str,
        path: str | os.PathLike[str],
        *,
        compression: Compression = "none",
        pause: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Packed:
        """Write a container's root file system, without volumes, into a new tar archive at `path`.

        With `pause` the container stands still meanwhile. A file that was there is replaced when the
        archive is whole; else nothing is left. Raises BadRequest if `path` cannot be written, NoSpace.
        """
        with local_files.archive_file(path) as archive:
            packed = await self.export_to(
                ref, archive.fd, compression=compression, pause=pause, on_progress=on_progress
            )
            archive.keep()
        return packed

    async def export_to(
        self,
        ref: str,
        fd: int,
        *,
        compression: Compression = "none",
        pause: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Packed:
        """Write the archive of export() into a pipe or file that the caller has open."""
        call = files.Export(ref=ref, compression=compression, pause=pause)
        async with self.stream(call, (fd,)) as stream:
            return await stream.drain(on_progress or ignore)

    async def commit(
        self,
        ref: str,
        name: str | None = None,
        *,
        pause: bool = True,
        message: str = "",
        author: str = "",
        changes: Sequence[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ImageSummary:
        """Keep a container's root file system as an image: the one it was made from and a layer.

        The image runs what the container ran; `changes` are instructions as of a Dockerfile: 'CMD ["sh"]',
        'ENV A=b'. With `pause` the container stands still meanwhile. Raises BadRequest, NoSpace.
        """
        call = files.CommitImage(
            ref=ref, name=name, pause=pause, message=message, author=author, changes=tuple(changes)
        )
        async with self.stream(call) as stream:
            return await stream.drain(on_progress or ignore)

    async def diff(self, ref: str) -> tuple[Change, ...]:
        """Return what a container changed in its root file system, parents first."""
        async with self.diff_stream(ref) as stream:
            return tuple([change async for changes in stream for change in changes.entries])

    def diff_stream(self, ref: str) -> AsyncEventStream[files.Changes, None]:
        """Iterate over what a container changed, some changes at a time."""
        return self.stream(files.Diff(ref=ref))

    async def copy_out(
        self,
        ref: str,
        path: str,
        destination: str | os.PathLike[str],
        *,
        archive: bool = False,
        follow: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Packed:
        """Copy `path` of a container to a place on this machine, as docker cp does.

        What is made belongs to the caller, without special modes; with `archive` to whom it belongs in the
        container. `follow`: of a symlink, what it leads to. Raises NotFound, BadRequest, NoSpace.
        """
        with local_files.Destination(destination) as place:
            call = files.CopyOut(
                ref=ref,
                path=path,
                target=place.kind,
                name=place.name,
                told=os.fsdecode(destination),
                slash=place.slash,
                follow=follow,
                owner=None if archive else place.owner,
            )
            async with self.stream(call, (place.fd,)) as stream:
                return await stream.drain(on_progress or ignore)

    async def copy_out_to(
        self,
        ref: str,
        path: str,
        fd: int,
        *,
        follow: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Packed:
        """Write `path` of a container as a tar archive into a pipe or file that the caller has open."""
        call = files.CopyOut(ref=ref, path=path, target="tar", follow=follow)
        async with self.stream(call, (fd,)) as stream:
            return await stream.drain(on_progress or ignore)

    async def copy_in(
        self,
        ref: str,
        source: str | os.PathLike[str],
        path: str,
        *,
        archive: bool = False,
        follow: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Packed:
        """Copy a file or directory of this machine to `path` of a container, as docker cp does.

        What is made belongs to the container's root, without special modes; with `archive` to whom it
        belongs here. `follow`: of a symlink, what it leads to. Raises NotFound, BadRequest, NoSpace.
        """
        with local_files.Source(source, follow=follow) as place:
            call = files.CopyIn(
                ref=ref,
                path=path,
                name=place.name,
                contents=place.contents,
                owner=None if archive else (0, 0),
            )
            async with self.stream(call, (place.fd,)) as stream:
                return await stream.drain(on_progress or ignore)

    async def copy_in_from(
        self,
        ref: str,
        fd: int,
        path: str,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Packed:
        """Unpack a tar archive, compressed or not, from a pipe or file into the directory `path`."""
        async with self.stream(files.CopyIn(ref=ref, path=path, tar=True), (fd,)) as stream:
            return await stream.drain(on_progress or ignore)
