"""What a container must not have or reach. Most tests show the thing working on the host first."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from launching import Ground, children, finish, output, run, run_plan
from support.mounted import mounted

from wherry_protocol.run_spec import Volume
from wherryd.containers.plan import MASKED_PATHS, READONLY_PATHS
from wherryd.launcher.handle import SpawnFailed, open_launcher
from wherryd.launcher.plan import Plan


def changed(plan: Plan, **fields: object) -> Plan:
    return Plan(**{**plan.__dict__, **fields})


async def test_capabilities_are_the_default_set_and_no_other(ground: Ground) -> None:
    text = await output(ground, "grep", "-E", "Cap|NoNew", "/proc/self/status")
    sets = dict(line.split(":\t") for line in text.splitlines())
    # chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap
    default = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31))
    assert [int(sets[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")] == [default] * 3
    assert [int(sets[name], 16) for name in ("CapInh", "CapAmb")] == [0, 0]
    assert sets["NoNewPrivs"] == "1"


async def test_other_users_have_no_capability(ground: Ground) -> None:
    text = await output(ground, "grep", "-E", "Cap(Prm|Eff)", "/proc/self/status", user="1234")
    assert [int(line.split()[1], 16) for line in text.splitlines()] == [0, 0]


async def test_only_three_descriptors_cross(ground: Ground) -> None:
    ours = os.open("/", os.O_RDONLY)
    os.set_inheritable(ours, True)
    try:
        text = await output(ground, "sh", "-c", "ls /proc/$$/fd; true")
    finally:
        os.close(ours)
    assert text.split() == ["0", "1", "2"]


async def test_standard_input_is_the_containers_own_null_device(ground: Ground) -> None:
    """Of the host's, root inside could change owner and mode."""
    before = os.stat("/dev/null").st_mode
    await output(ground, "sh", "-c", "chmod 600 /proc/self/fd/0")
    assert os.stat("/dev/null").st_mode == before


async def test_nothing_of_the_host_is_mounted_but_what_was_asked_for(ground: Ground) -> None:
    text = await output(ground, "cat", "/proc/self/mountinfo")
    points = [line.split()[4] for line in text.splitlines()]
    expected = {"/", "/proc", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"}
    expected |= {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", *MASKED_PATHS, *READONLY_PATHS}
    assert set(points) <= expected, set(points) - expected
    assert len(points) == len(set(points)), "something is mounted twice: the old root is below"
    assert str(ground.image) not in text
    assert str(ground.containers) not in text.split("\n")[0]


async def test_no_mount_shows_on_the_host(ground: Ground) -> None:
    before = mounted(ground.run_dir.parent)
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("cat", stdin=True))
        assert mounted(ground.run_dir.parent) == before
        await finish(launcher, spawned)
    assert mounted(ground.run_dir.parent) == before


@pytest.mark.parametrize("path", MASKED_PATHS)
async def test_masked_paths_show_nothing(ground: Ground, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"not applicable: this kernel has no {path}")
    script = f"if [ -d {path} ]; then ls -A {path}; else cat {path}; fi; (: >{path}/y) 2>/dev/null && echo w"
    _, out, _ = await run(ground, "sh", "-c", script)
    assert out == ""


@pytest.mark.parametrize("path", ["/proc/sys/kernel/domainname", "/proc/irq/default_smp_affinity"])
async def test_kernel_settings_cannot_be_written(ground: Ground, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"not applicable: this kernel has no {path}")
    _, _, err = await run(ground, "sh", "-c", f"echo 1 >{path}")
    assert "Read-only file system" in err, err


async def test_sysrq_cannot_be_triggered(ground: Ground) -> None:
    if not Path("/proc/sysrq-trigger").exists():
        pytest.skip("not applicable: this kernel has no /proc/sysrq-trigger")
    _, _, err = await run(ground, "sh", "-c", ": >/proc/sysrq-trigger")
    assert "Read-only file system" in err


async def test_devices_are_exactly_the_harmless_ones(ground: Ground) -> None:
    text = await output(ground, "find", "/dev", "-type", "c")
    names = {"null", "zero", "full", "random", "urandom", "tty", "pts/ptmx"}
    assert set(text.split()) == {f"/dev/{name}" for name in names}


async def test_other_devices_cannot_be_made(ground: Ground) -> None:
    _, _, err = await run(ground, "mknod", "/dev/mem", "c", "1", "1")
    assert "Operation not permitted" in err


async def test_cgroup_is_the_containers_own_and_read_only(ground: Ground) -> None:
    script = "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1"
    ended, out, _ = await run(ground, "sh", "-c", script)
    lines = out.splitlines()
    assert "0::/" in lines, lines
    assert "Read-only file system" in lines[-1]
    assert ended.code == 1


async def test_process_one_sees_only_its_own_processes_and_session(ground: Ground) -> None:
    text = await output(ground, "sh", "-c", "ls -d /proc/[0-9]*; cut -d' ' -f5,6,7 /proc/self/stat; echo $$")
    assert "/proc/1" in text.split()
    assert text.split()[-1] == "1"


@pytest.mark.parametrize("tree", ["proc", "sys", "dev"])
async def test_link_in_place_of_a_kernel_tree_is_refused(ground: Ground, tree: str) -> None:
    image = ground.private_image()
    for path in (image / tree, image / "elsewhere"):
        if path.is_dir():
            path.rmdir()
    (image / "elsewhere").mkdir()
    (image / tree).symlink_to("/elsewhere")
    async with open_launcher(ground.run_dir) as launcher:
        with pytest.RaisesGroup(SpawnFailed, allow_unwrapped=True, flatten_subgroups=True) as caught:
            await launcher.spawn(ground.plan("true", image=image))
    assert isinstance(caught.value, SpawnFailed)
    assert (caught.value.step, caught.value.errno) == ("mounts", errno.ELOOP)


@pytest.mark.parametrize("link", ["/../../../../../../tmp/{canary}", "../../../../../tmp/{canary}"])
async def test_links_of_the_image_lead_nowhere_else(ground: Ground, link: str, tmp_path: Path) -> None:
    """/etc/resolv.conf and a volume's target, as links that point far above the root."""
    canary = tmp_path / "canary"
    canary.write_text("untouched\n")
    image = ground.private_image()
    target = link.format(canary=f"{canary.relative_to('/tmp')}" if canary.is_relative_to("/tmp") else "x")
    for name in ("resolv.conf", "hosts"):
        (image / "etc" / name).unlink(missing_ok=True)
        (image / "etc" / name).symlink_to(target)
    (image / "vol").symlink_to("../../.." + str(tmp_path))
    volume = Volume(source="/etc", target="/vol/deep", read_only=True)
    await run(ground, "sh", "-c", "echo spoiled >/etc/hosts", image=image, volumes=(volume,))
    assert canary.read_text() == "untouched\n"
    assert os.listdir(tmp_path) == ["canary"]


async def test_dangling_resolv_conf_of_a_distribution_works(ground: Ground) -> None:
    image = ground.private_image()
    (image / "etc/resolv.conf").unlink(missing_ok=True)
    (image / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert "no network" in await output(ground, "cat", "/etc/resolv.conf", image=image)


@pytest.mark.parametrize("directory", [*(f"/proc/self/fd/{fd}" for fd in range(3, 12)), "/proc/1/cwd/../.."])
async def test_working_directory_cannot_lead_out(ground: Ground, directory: str) -> None:
    """The class of CVE-2024-21626."""
    plan = ground.plan("sh", "-c", "ls /proc/self/cwd/; pwd -P", workdir="/")
    async with open_launcher(ground.run_dir) as launcher:
        try:
            spawned = await launcher.spawn(changed(plan, cwd=directory))
        except SpawnFailed as error:
            assert error.step == "cwd"  # noqa: PT017 - either of two outcomes is right
            return
        _, out, _ = await finish(launcher, spawned)
    assert "lost+found" not in out
    assert out.splitlines()[-1] == "/"


async def test_interpreter_cannot_be_written_through_proc_self_exe(ground: Ground) -> None:
    """The class of CVE-2019-5736: /proc/PID/exe of every process of ours leads to a read-only mount."""
    assert not read_only("/proc/self/exe"), "the test's own interpreter is read-only: this proves nothing"
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        for pid in (launcher.pid, *children(launcher.pid)):
            assert read_only(f"/proc/{pid}/exe")


def read_only(path: str) -> bool:
    fd = os.open(path, os.O_PATH)
    try:
        return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
    finally:
        os.close(fd)


async def test_seccomp_program_is_in_force(ground: Ground) -> None:
    """Its place in the plan works: this one makes sethostname fail with EPERM, and lets the rest pass."""
    number = {"x86_64": 170, "aarch64": 161}[os.uname().machine]
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 0), (jump_if_equal, 0, 1, number), (give, 0, 0, 0x00050000 | errno.EPERM),
            (give, 0, 0, 0x7FFF0000),
        )
    )  # fmt: skip
    plan = changed(ground.plan("grep", "Seccomp:", "/proc/self/status"), seccomp=program)
    assert (await run_plan(ground, plan))[1].split() == ["Seccomp:", "2"]


async def test_host_network_shares_only_the_network(ground: Ground) -> None:
    text = await output(
        ground, "sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/uts", network="host"
    )
    net, uts = text.split()
    assert net == os.readlink("/proc/self/ns/net")
    assert uts != os.readlink("/proc/self/ns/uts")


async def test_own_network_has_loopback_and_nothing_else(ground: Ground) -> None:
    text = await output(ground, "sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/flags")
    assert text.split() == ["lo", "0x9"], text


async def test_failed_start_leaves_the_next_one_the_hosts_view(ground: Ground, tmp_path: Path) -> None:
    """A worker that failed amid a container's mounts is back in the host's namespaces for the next one."""
    (tmp_path / "file").write_text("here\n")
    bad = ground.plan("true", volumes=(Volume(source="/no/such", target="/v"),))
    volume = Volume(source=str(tmp_path), target="/v")
    good = ground.plan(
        "sh", "-c", "cat /v/file; readlink /proc/self/ns/net", volumes=(volume,), network="host"
    )
    async with open_launcher(ground.run_dir) as launcher:
        for _ in range(5):
            with pytest.raises(SpawnFailed):
                await launcher.spawn(bad)
        _, out, _ = await finish(launcher, await launcher.spawn(good))
    assert out.split() == ["here", os.readlink("/proc/self/ns/net")]
