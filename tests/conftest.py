"""Fixtures for every test: a real supervisor, a small image, and a guard against what tests leave behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support import busybox as image
from support import ground, leaks
from support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMON_FIXTURES = {"wherryd", "fresh_wherryd", "chaos_wherryd"}
ALONE = {"bench", "chaos", "robustness"}


def pytest_configure() -> None:
    """Leave the machine's own network: what others make there is no leak of ours."""
    ground.enter_own_network()
    _expect_no_haste()


def _expect_no_haste() -> None:
    """Have hypothesis take no slow machine for a defect."""
    settings.register_profile("wherry", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("wherry")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has to run alone by the folder that it is in; single tests elsewhere say so themselves."""
    for item in items:
        if item.path.parent.name in ALONE:
            item.add_marker("alone")


def pytest_report_header() -> list[str]:
    return ground.header()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on trio."""
    return "trio"


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory image of busybox; read-only by agreement."""
    return image.make_directory(tmp_path_factory.mktemp("busybox") / "image")


@pytest.fixture(scope="session")
def busybox_tar(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> image.Archives:
    """The same image as `.tar`, `.gz`, `.xz` and `.zst`."""
    return image.make_archives(busybox, tmp_path_factory.mktemp("archives"))


@pytest.fixture(autouse=True)
def leak_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that uses a supervisor and leaves something behind, naming it."""
    if not DAEMON_FIXTURES.intersection(request.fixturenames):
        yield
        return
    before = leaks.snapshot()
    yield
    left = leaks.wait_clean(before)
    if left:
        pytest.fail(f"the test left behind: {'; '.join(left)}", pytrace=False)


@pytest.fixture(scope="session")
def shared_daemon(busybox: Path) -> Iterator[Daemon]:
    """The supervisor behind `wherryd`."""
    daemon = Daemon()
    try:
        daemon.start()
        _warm_up(daemon, busybox)
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def wherryd(shared_daemon: Daemon) -> Iterator[Daemon]:
    """A supervisor that all tests share; what a test makes in it is removed after the test.

    Not to be killed or stopped: `fresh_wherryd` is for that.
    """
    before = shared_daemon.container_ids()
    yield shared_daemon
    shared_daemon.remove_containers(keep=before)


@pytest.fixture
def fresh_wherryd() -> Iterator[Daemon]:
    """A supervisor of this test's own: to be killed, stopped and started at will."""
    daemon = Daemon()
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


def _warm_up(daemon: Daemon, busybox: Path) -> None:
    """Have the supervisor open what it keeps open from its first container on."""
    from wherry import RunSpec

    with daemon.client() as client:
        spec = RunSpec(image=os.fspath(busybox), command=("true",), auto_remove=True)
        client.run(spec).check()
