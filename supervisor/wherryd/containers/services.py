"""What the parts of one supervisor that deal with containers share; made once in serve.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherryd.cgroups.group import Group
from wherryd.containers.files import NEW
from wherryd.containers.plan import build_plan

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.cgroups.spares import SpareGroups
    from wherryd.cgroups.tree import Tree
    from wherryd.containers.config import Config
    from wherryd.containers.files import Taken
    from wherryd.containers.group_watch import GroupWatch
    from wherryd.containers.health import HealthWatch
    from wherryd.containers.oom import OomWatch
    from wherryd.containers.records import Records
    from wherryd.containers.registry import Registry
    from wherryd.containers.restarting import Restarts
    from wherryd.containers.spares import Spares
    from wherryd.containers.trash import Trash
    from wherryd.events.log import EventLog
    from wherryd.images.store import ImageStore
    from wherryd.launcher.handle import Launcher
    from wherryd.launcher.plan import Plan
    from wherryd.logs.limits import LogDefaults
    from wherryd.logs.packer import Packer
    from wherryd.logs.pump import LogPump
    from wherryd.network.service import Networks
    from wherryd.settings import Settings
    from wherryd.volumes.store import VolumeStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The supervisor's parts. `cgroups` is where the containers' groups are, in every hierarchy."""

    settings: Settings
    registry: Registry
    records: Records
    events: EventLog
    health: HealthWatch
    oom: OomWatch
    restarts: Restarts
    images: ImageStore
    volumes: VolumeStore
    networks: Networks
    launcher: Launcher
    pump: LogPump
    packer: Packer
    log_defaults: LogDefaults
    trash: Trash
    spares: Spares
    cgroups: Tree
    spare_groups: SpareGroups
    group_watch: GroupWatch

    def cgroup_of(self, container_id: str) -> Path:
        """Return the directory of a container's v2 cgroup."""
        return self.cgroups.v2 / container_id

    def group_of(self, container_id: str) -> Group:
        """Return a container's groups, in every hierarchy."""
        return Group(container_id, self.cgroups, self.spare_groups)

    def plan_of(self, container_id: str, config: Config, taken: Taken = NEW) -> Plan:
        """Return what the launcher does to start a container; `taken` is where its directory comes from."""
        group = self.group_of(container_id)
        return build_plan(
            container_id=container_id,
            config=config,
            directory=self.settings.containers_dir / container_id,
            cgroup=str(group.v2),
            v1_cgroups=group.to_join(config.spec.limits),
            mountpoint=self.settings.mountpoint,
            own_paths=self.settings.own_paths,
            taken=taken,
        )
