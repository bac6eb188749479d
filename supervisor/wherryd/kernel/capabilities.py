"""Capabilities by their names in capabilities(7) without CAP_, and sets of them as the kernel takes them.

Owns the table of names. Must never decide which a container gets.
"""

from __future__ import annotations

import ctypes

from wherryd.kernel.errors import KernelError

_VERSION_3 = 0x20080522
NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
            "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio "
            "sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time "
            "sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
            "wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
        ).split()
    )
}


def last_cap() -> int:
    """Return the highest capability that the running kernel knows."""
    path = "/proc/sys/kernel/cap_last_cap"
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except OSError as error:
        raise KernelError("read", path, error.errno or 0) from error


def has_capability(name: str) -> bool:
    """Say whether this process has a capability in effect (proc_pid_status(5))."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> NUMBERS[name] & 1)


def capability_data(
    names: tuple[str, ...],
) -> tuple[ctypes.Array[ctypes.c_uint], ctypes.Array[ctypes.c_uint]]:
    """Return header and data of capset(2): `names` permitted and effective, none inheritable (so ambient)."""
    mask = sum(1 << NUMBERS[name] for name in names)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint * 2)(_VERSION_3, 0)
    return header, (ctypes.c_uint * 6)(low, low, 0, high, high, 0)
