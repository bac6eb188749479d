"""commit to the store: a container's root becomes an image of the one it was made from and one layer.

Owns the pipe between the process that packs the layer and the one that unpacks it. A container of a directory
or of the host has no stored image under it: then the layer is the whole root.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wherry_protocol.errors import InternalError, WherryError
from wherryd.files import doors
from wherryd.files.instructions import config_changes
from wherryd.images.names import check_name
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from wherry_protocol.files import CommitImage
    from wherry_protocol.images import ImageSummary
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


async def commit(
    container: Container, services: Services, call: CommitImage, on_bytes: Callable[[int], None]
) -> ImageSummary:
    """Make the image. Raises WherryError; nothing is left of it then."""
    if call.name is not None:
        check_name(call.name)
    commit = _Commit(container, services, call, config_changes(container.config, call.changes))
    try:
        async with open_nursery() as nursery:
            start_soon(nursery, commit.pack, on_bytes, nursery.cancel_scope)
            await commit.store(nursery.cancel_scope)
    finally:
        commit.close()
    return commit.image()


class _Commit:
    """Both ends of the pipe, and what came of each side."""

    def __init__(
        self, container: Container, services: Services, call: CommitImage, changes: dict[str, object]
    ) -> None:
        self._container = container
        self._services = services
        self._call = call
        self._changes = changes
        self._base = container.config.image.digest
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self._image: ImageSummary | None = None
        self._error: WherryError | None = None

    async def pack(self, on_bytes: Callable[[int], None], scope: trio.CancelScope) -> None:
        """Write the layer into the pipe, and then its end."""
        try:
            await doors.export(
                self._container,
                self._services,
                self._writer,
                on_bytes,
                compression=None,
                pause=self._call.pause,
                layer=self._base is not None,
            )
        except WherryError as error:
            if error.errno == errno.EPIPE:
                return  # the other side failed, and is about to say why
            self._error = error
            scope.cancel()
        finally:
            self._close_writer()

    async def store(self, scope: trio.CancelScope) -> None:
        """Have the image made of what comes out of the pipe."""
        history = {
            "created_by": " ".join(self._container.config.args),
            "comment": self._call.message,
            "author": self._call.author,
        }
        try:
            self._image = await self._services.images.commit(
                self._reader, base=self._base, name=self._call.name, changes=self._changes, history=history
            )
        except WherryError as error:
            self._error = self._error or error
            scope.cancel()

    def image(self) -> ImageSummary:
        """Return what was made. Raises what went wrong."""
        if self._error is not None:
            raise self._error
        if self._image is None:
            raise InternalError("commit ended without an image")
        return self._image

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reader)
        self._close_writer()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)
