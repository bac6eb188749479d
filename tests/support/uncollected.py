"""Put into a supervisor by its environment: it does without the collector, and says at its end what is there.

What is over has to be freed by its reference count: the collector looks rarely, and at what has become old
hardly ever.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections import Counter
from pathlib import Path

VARIABLE = "WHERRY_TEST_UNCOLLECTED"
"""Where to write down how many there are of each class of ours."""

CODE = "import support.uncollected as it; it.install()\n"


def install() -> None:
    """Switch the collector off; at the end tell, if this is a supervisor."""
    gc.disable()
    atexit.register(_tell)


def _tell() -> None:
    if "wherryd.containers.container" not in sys.modules:
        return
    kinds = [type(each) for each in gc.get_objects()]
    ours = [kind for kind in kinds if kind.__module__.startswith("wherry")]
    counts = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in ours)
    Path(os.environ[VARIABLE]).write_text(json.dumps(counts), encoding="utf-8")
