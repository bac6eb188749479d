"""What must go on when there is not enough of something: a container that writes, and one that is to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from support.waiting import wait_for

from wherry import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from wherry import Client

WRITER = 'n=0; while :; do echo "line $n"; n=$((n+1)); usleep 2000; done'


def one(image: Path, *, auto_remove: bool = True) -> RunSpec:
    """Return the specification of a run that does nothing."""
    return RunSpec(image=str(image), command=("true",), auto_remove=auto_remove)


class Lives:
    """Both containers, while the block runs. The log of `writing` has every line, once and in order."""

    def __init__(self, client: Client, image: Path) -> None:
        self._client = client
        self._image = str(image)
        self.writing = ""
        self.ending = ""

    def __enter__(self) -> Self:
        self.writing = self._run("sh", "-c", WRITER)
        self.ending = self._run("sleep", "1000")
        assert wait_for(lambda: self._lines() > 1)
        return self

    def _run(self, *command: str) -> str:
        return self._client.run_detached(RunSpec(image=self._image, command=command, stop_timeout=0)).id

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._client.stop(self.writing)
            self._look()

    def _lines(self) -> int:
        return self._client.logs(self.writing).count(b"\n")

    def go_on(self) -> None:
        """Fail unless the writer writes, and what it writes comes to the log."""
        before = self._size()
        assert wait_for(lambda: self._size() > before + 1000), "the log does not grow"

    def _size(self) -> int:
        details = self._client.inspect(self.writing)
        with open(details.log_path, "rb") as file:
            return file.seek(0, 2)

    def _look(self) -> None:
        written = self._client.logs(self.writing)
        whole = written[: written.rfind(b"\n") + 1]
        expected = b"".join(b"line %d\n" % number for number in range(whole.count(b"\n")))
        assert whole == expected, "lines are missing, doubled or out of order"
