"""What a start does as asked: command, streams, user, directory, environment, mounts."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio
from launching import Ground, finish, output, read_all, run, run_plan
from support.forms import within

from wherry_protocol.run_spec import Tmpfs, Ulimit, Volume
from wherryd.launcher.handle import SpawnFailed, open_launcher

if TYPE_CHECKING:
    from pathlib import Path


async def failure(ground: Ground, *command: str, **spec: object) -> SpawnFailed:
    async with open_launcher(ground.run_dir) as launcher:
        with pytest.RaisesGroup(SpawnFailed, allow_unwrapped=True, flatten_subgroups=True) as caught:
            await launcher.spawn(ground.plan(*command, **spec))
    error = caught.value
    assert isinstance(error, SpawnFailed)
    return error


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_code_is_the_commands(ground: Ground, code: int) -> None:
    ended, _, _ = await run(ground, "sh", "-c", f"exit {code}")
    assert (ended.code, ended.signal) == (code, None)


async def test_death_by_signal_is_told_as_signal(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("sleep", "1000"))
        signal.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
        ended, _, _ = await finish(launcher, spawned)
    assert (ended.code, ended.signal) == (None, signal.SIGKILL)


async def test_stdout_and_stderr_stay_apart(ground: Ground) -> None:
    _, out, err = await run(ground, "sh", "-c", "echo out; echo err >&2")
    assert (out, err) == ("out\n", "err\n")


async def test_a_mebibyte_fits_the_pipe_before_anybody_reads(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("dd", "if=/dev/zero", "bs=4096", "count=256"))
        with trio.fail_after(within(20)):
            ended = await launcher.wait_exit(spawned.id)
        assert ended.code == 0, "the writer waited for a reader"
        _, out, _ = await finish(launcher, spawned)
    assert len(out) == 1 << 20


async def test_stdin_without_i_is_at_its_end(ground: Ground) -> None:
    assert await output(ground, "cat") == ""


async def test_stdin_pipe_carries_bytes_and_its_end(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("cat", stdin=True))
        assert spawned.stdin is not None
        os.write(spawned.stdin, b"hello")
        os.close(spawned.stdin)
        launcher.close_stdin(spawned.id)
        with trio.fail_after(within(20)):
            assert await read_all(spawned.stdout) == b"hello"
            await read_all(spawned.stderr)
            assert (await launcher.wait_exit(spawned.id)).code == 0
        os.close(spawned.pidfd)
        launcher.release(spawned.id)


async def test_terminal_has_its_size_and_is_the_console(ground: Ground) -> None:
    script = (
        "stty size; tty; echo to-console >/dev/console; ls /dev/pts; sh -c 'echo >/dev/tty && echo has-tty'"
    )
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("sh", "-c", script, tty=True, tty_size=(33, 77)))
        assert spawned.tty is not None
        assert (spawned.stdin, spawned.stderr) == (None, None)
        assert None not in (spawned.stdout, spawned.staging), "the pipe to the log is not held"
        with trio.fail_after(within(20)):
            assert (await launcher.wait_exit(spawned.id)).code == 0
        text = ""
        with trio.fail_after(within(20)):
            while "has-tty" not in text:  # it comes piece by piece, and may come late
                await trio.lowlevel.wait_readable(spawned.tty)
                text += os.read(spawned.tty, 65536).decode()
        spawned.close()
        launcher.release(spawned.id)
    assert text.split() == ["33", "77", "/dev/pts/0", "to-console", "0", "ptmx", "has-tty"], text


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("nosuch", errno.ENOENT),
        ("/nosuch", errno.ENOENT),
        ("/etc/passwd/x", errno.ENOTDIR),
        ("/etc/passwd", errno.EACCES),
        ("/etc", errno.EACCES),
    ],
)
async def test_command_that_cannot_run_is_told_as_step_exec(
    ground: Ground, command: str, number: int
) -> None:
    error = await failure(ground, command)
    assert (error.step, error.op, error.path, error.errno) == ("exec", "execve", command, number)


async def test_missing_interpreter_is_told_from_a_missing_command(ground: Ground) -> None:
    image = ground.private_image()
    (image / "bin/script").write_text("#!/no/such/interpreter\n")
    (image / "bin/script").chmod(0o755)
    error = await failure(ground, "script", image=image)
    assert (error.path, error.errno) == ("/bin/script", errno.ENOENT)
    assert "interpreter" in (error.hint or "")


async def test_path_search_prefers_denied_over_not_found(ground: Ground) -> None:
    image = ground.private_image()
    (image / "bin/closed").write_text("#!/bin/sh\n")
    error = await failure(ground, "closed", image=image)
    assert (error.path, error.errno) == ("/bin/closed", errno.EACCES)


async def test_path_search_goes_on_after_denied(ground: Ground) -> None:
    image = ground.private_image()
    (image / "sbin").mkdir(exist_ok=True)
    (image / "sbin/id").write_text("not to be run\n")
    assert "uid=0" in await output(ground, "id", image=image, env={"PATH": "/sbin:/bin"})


async def test_environment_is_the_plans_and_home(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SUPERVISOR", "1")
    plan = ground.plan("env", env={"A": "b=c", "E": ""})
    _, out, _ = await run_plan(ground, plan)
    assert sorted(out.splitlines()) == sorted([*(f"{k}={v}" for k, v in plan.env.items()), "HOME=/root"])


async def test_bytes_that_are_no_text_arrive_as_they_are(ground: Ground) -> None:
    raw = os.fsdecode(b"\xff\xfe\x80")
    _, out, _ = await run(ground, "echo", raw)
    assert os.fsencode(out) == b"\xff\xfe\x80\n"


async def test_plan_of_more_than_a_datagram_arrives(ground: Ground) -> None:
    large = {f"V{n}": "x" * 100_000 for n in range(8)}
    assert await output(ground, "sh", "-c", "echo ${#V7}", env=large) == "100000\n"


@pytest.mark.parametrize("directory", ["/made/up/place", "/tmp", "/proc/sys", "/sys/fs/cgroup"])
async def test_working_directory_is_made_if_missing(ground: Ground, directory: str) -> None:
    assert await output(ground, "pwd", workdir=directory) == f"{directory}\n"


async def test_working_directory_that_is_a_file_is_refused(ground: Ground) -> None:
    error = await failure(ground, "pwd", workdir="/etc/passwd")
    assert error.step == "cwd", error
    assert error.path == "/etc/passwd"


async def test_read_only_root_still_gets_its_working_directory(ground: Ground) -> None:
    script = "pwd; touch /x 2>/dev/null || echo read-only; touch /dev/shm/x && echo shm"
    text = await output(ground, "sh", "-c", script, read_only=True, workdir="/new")
    assert text.split() == ["/new", "read-only", "shm"]


async def test_umask_and_hostname(ground: Ground) -> None:
    text = await output(ground, "sh", "-c", "umask; hostname", hostname="box")
    assert text.split() == ["0022", "box"]


async def test_volume_is_writable_and_inherits_no_devices(ground: Ground, tmp_path: Path) -> None:
    script = "echo data >/vol/file; grep ' /vol ' /proc/mounts"
    text = await output(ground, "sh", "-c", script, volumes=(Volume(source=str(tmp_path), target="/vol"),))
    assert (tmp_path / "file").read_text() == "data\n"
    assert "nosuid,nodev" in text


async def test_read_only_volume_is_so_below_other_mounts_too(ground: Ground, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    trio_run = await trio.run_process(["mount", "-t", "tmpfs", "inner", str(inner)])
    assert trio_run.returncode == 0
    try:
        script = "touch /vol/a 2>/dev/null || echo one; touch /vol/inner/a 2>/dev/null || echo two"
        volume = Volume(source=str(tmp_path), target="/vol", read_only=True)
        assert (await output(ground, "sh", "-c", script, volumes=(volume,))).split() == ["one", "two"]
    finally:
        await trio.run_process(["umount", str(inner)])


async def test_volume_may_be_a_file_and_its_parents_are_made(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("here\n")
    volume = Volume(source=str(tmp_path / "conf"), target="/deep/down/conf", read_only=True)
    assert await output(ground, "cat", "/deep/down/conf", volumes=(volume,)) == "here\n"


async def test_tmpfs_has_size_and_mode(ground: Ground) -> None:
    tmpfs = Tmpfs(target="/scratch", size=1 << 20, mode=0o700)
    script = "grep ' /scratch ' /proc/mounts; stat -c %a /scratch"
    text = await output(ground, "sh", "-c", script, tmpfs=(tmpfs,))
    assert "size=1024k" in text
    assert "noexec" in text
    assert text.split()[-1] == "700"


async def test_ulimits_are_set(ground: Ground) -> None:
    limits = (Ulimit(name="nofile", soft=64, hard=128), Ulimit(name="core", soft=0, hard=0))
    text = await output(ground, "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c", ulimits=limits)
    assert text.split() == ["64", "128", "0"]


async def test_launchers_own_raised_limit_stays_its_own(ground: Ground) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = await output(ground, "sh", "-c", "ulimit -Sn; ulimit -Hn")
    assert text.split() == [str(soft), str(hard)]


async def test_limit_that_cannot_be_set_is_an_error(ground: Ground) -> None:
    error = await failure(ground, "true", ulimits=(Ulimit(name="nofile", soft=1, hard=1 << 40),))
    assert (error.step, error.path, error.errno) == ("limits", "nofile", errno.EPERM)


async def test_init_runs_without_the_images_libraries_and_reaps(ground: Ground) -> None:
    # The orphan of a sub-shell ends as a zombie, unless process 1 reaps it.
    script = "(true & exec sleep 0.1) & wait; grep -l '^State:.Z' /proc/[0-9]*/status; cat /proc/1/comm"
    assert (await output(ground, "sh", "-c", script, init=True)).strip() != "sh"


async def test_init_program_cannot_be_written_from_inside(ground: Ground) -> None:
    script = "for f in /dev/init/*; do (: >>$f) 2>/dev/null && echo wrote $f; done; echo tried"
    assert await output(ground, "sh", "-c", script, init=True) == "tried\n"


async def test_missing_volume_source_names_step_and_path(ground: Ground) -> None:
    volume = Volume(source="/no/such/place", target="/vol")
    error = await failure(ground, "true", volumes=(volume,))
    assert (error.step, error.path, error.errno) == ("mounts", "/no/such/place", errno.ENOENT)


async def test_container_still_held_cannot_be_started_again(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        plan = ground.plan("true")
        spawned = await launcher.spawn(plan)
        with pytest.raises(SpawnFailed, match="still holds"):
            await launcher.spawn(plan)
        assert (await finish(launcher, spawned))[0].code == 0
        again = await launcher.spawn(plan)
        assert (await finish(launcher, again))[0].code == 0


async def test_unknown_namespace_is_refused(ground: Ground) -> None:
    plan = ground.plan("true")
    wrong = type(plan)(**{**plan.__dict__, "namespaces": ("mount", "user")})
    async with open_launcher(ground.run_dir) as launcher:
        with pytest.raises(SpawnFailed, match="no user namespace"):
            await launcher.spawn(wrong)
        assert (await finish(launcher, await launcher.spawn(plan)))[0].code == 0, "the worker did not recover"


async def test_given_network_namespace_is_joined(ground: Ground) -> None:
    from wherryd.kernel.namespaces import new_network_namespace

    plan = ground.plan("readlink", "/proc/self/ns/net", network="host")
    joined = type(plan)(**{**plan.__dict__, "network_fd": True})
    netns = await trio.to_thread.run_sync(new_network_namespace)
    try:
        async with open_launcher(ground.run_dir) as launcher:
            _, out, _ = await finish(launcher, await launcher.spawn(joined, netns=netns))
        assert out == f"net:[{os.fstat(netns).st_ino}]\n"
    finally:
        os.close(netns)


async def test_hundred_starts_at_once_all_end_well(ground: Ground) -> None:
    codes: list[int | None] = []
    async with open_launcher(ground.run_dir) as launcher, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            spawned = await launcher.spawn(ground.plan("sh", "-c", f"exit {number}"))
            codes.append((await finish(launcher, spawned))[0].code)

        for number in range(100):
            nursery.start_soon(one, number)
    assert sorted(code for code in codes if code is not None) == list(range(100))


async def test_second_start_finds_what_the_first_wrote(ground: Ground) -> None:
    first = ground.plan("sh", "-c", "echo kept >/file")
    await run_plan(ground, first)
    second = ground.plan_of(first.id, "cat", "/file")
    assert (await run_plan(ground, second))[1] == "kept\n"
