"""All looks, in the order in which a person mends things."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from wherryd.doctor import disk, groups, host, limits, packets
from wherryd.doctor.finding import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.doctor.finding import Finding
    from wherryd.settings import Settings

_LOOKS = {
    "kernel": host.look,
    "cgroups": groups.look,
    "disk": disk.look,
    "networks": packets.look,
    "limits": limits.look,
}


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything; a look that the machine refuses is a finding, too.

    Who is not root would see half of it.
    """
    if os.geteuid() != 0:
        yield problem(
            "user", f"uid {os.geteuid()}: wherryd sets up namespaces, mounts and cgroups", "use sudo"
        )
        return
    for subject, look in _LOOKS.items():
        try:
            yield from look(settings)
        except OSError as error:
            yield problem(subject, f"cannot be looked at: {error}")


def report(settings: Settings) -> bool:
    """Print every finding as a line of JSON; say whether none is a problem."""
    fine = True
    for finding in examine(settings):
        fine = fine and finding.level != "problem"
        sys.stdout.write(json.dumps(asdict(finding)) + "\n")
    return fine
