"""A pump for every test of the logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from logbench import Bench

from wherryd.logs.log import Log
from wherryd.logs.pump import LogPump

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def pump() -> AsyncIterator[LogPump]:
    pump = LogPump()
    pump.start()
    try:
        yield pump
    finally:
        pump.close()


@pytest.fixture
async def bench(pump: LogPump, tmp_path: Path) -> Bench:
    return Bench(pump, Log.open(tmp_path))
