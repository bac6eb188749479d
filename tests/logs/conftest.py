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
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    pump = LogPump()
    pump.start()
    try:
        yield Bench(pump, Log.open(tmp_path))
    finally:
        pump.close()
