"""Every flag of `wherry run` that shapes the container, seen from inside it."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
from clikit import (
    await_line,
    detached,
    field,
    finish,
    inspect,
    names,
    ok,
    read_line,
    refused,
    running,
    wait_for,
)

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def variables(printed: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in printed.splitlines())


# -- environment -----


def test_nothing_of_the_hosts_environment_gets_in(wherryd: Daemon, busybox: Path) -> None:
    """Neither the command's nor the supervisor's: what is there was put there by rule."""
    found = variables(ok(wherryd, "run", "--rm", busybox, "env", env={"CANARY": "secret"}))
    assert set(found) == {"PATH", "HOSTNAME", "HOME"}, f"the host's environment leaked: {found}"
    assert found["HOME"] == "/root"


def test_a_value_may_hold_an_equals_sign_and_may_be_empty(wherryd: Daemon, busybox: Path) -> None:
    found = variables(ok(wherryd, "run", "--rm", "-e", "A=b=c", "-e", "E=", "--env", "S=a b", busybox, "env"))
    assert found["A"] == "b=c", "-e A=b=c lost what stands before the last '='"
    assert found["E"] == "", "-e E= is an empty value"
    assert found["S"] == "a b"


def test_a_name_alone_passes_ours_on(wherryd: Daemon, busybox: Path) -> None:
    printed = ok(wherryd, "run", "--rm", "-e", "MINE", "-e", "NOBODYS", busybox, "env", env={"MINE": "yes"})
    found = variables(printed)
    assert found["MINE"] == "yes"
    assert "NOBODYS" not in found, "a variable that nobody has became one"


def test_given_variables_win_over_defaults_and_the_last_wins(wherryd: Daemon, busybox: Path) -> None:
    flags = ["-e", "PATH=/bin:/x", "-e", "X=1", "-e", "X=2", "-e", "HOME=/home"]
    found = variables(ok(wherryd, "run", "--rm", *flags, busybox, "env"))
    assert (found["PATH"], found["X"], found["HOME"]) == ("/bin:/x", "2", "/home")


def test_an_environment_file(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """Comments, empty lines, values as they stand; options win over it."""
    file = tmp_path / "env"
    file.write_text('# a comment\n\nA=from file\nB="quoted"\nMINE\nC=1\n')
    flags = ["--env-file", str(file), "-e", "C=2"]
    found = variables(ok(wherryd, "run", "--rm", *flags, busybox, "env", env={"MINE": "yes"}))
    assert {key: found[key] for key in ("A", "B", "C", "MINE")} == {
        "A": "from file", "B": '"quoted"', "C": "2", "MINE": "yes",
    }  # fmt: skip


# -- volumes and tmpfs -----


def test_a_volume_is_the_hosts_directory(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    script = "cat /made/up/in; echo back > /made/up/out"
    printed = ok(wherryd, "run", "--rm", "-v", f"{tmp_path}:/made/up", busybox, "sh", "-c", script)
    assert printed == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"


def test_a_read_only_volume_cannot_be_written(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    done = wherryd.cli("run", "--rm", "-v", f"{tmp_path}:/v:ro", busybox, "touch", "/v/canary")
    assert (done.exit_code, os.listdir(tmp_path)) == (1, []), "a container wrote to a read-only volume"
    assert "Read-only file system" in done.stderr


def test_many_volumes_and_files(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """More than two, nested, one of them a single file, one with a relative source."""
    flags: list[str] = []
    for number in range(12):
        (tmp_path / f"file{number}").write_text(f"{number}\n")
        flags += ["-v", f"{tmp_path}/file{number}:/v/{number}/file"]
    relative = os.path.relpath(tmp_path)
    flags += ["-v", f"{relative}:/relative:rw"]
    script = "cat /v/*/file | sort -n | tr '\\n' ' '; cat /relative/file7"
    printed = ok(wherryd, "run", "--rm", *flags, busybox, "sh", "-c", script)
    assert printed == f"{' '.join(map(str, range(12)))} 7\n"


def test_a_volume_over_a_symlink_of_the_image_stays_inside(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """A target that leads through a link is resolved in the container's root."""
    image, data, outside = tmp_path / "image", tmp_path / "data", tmp_path / "outside"
    for each in (image / "bin", data, outside):
        each.mkdir(parents=True)
    (image / "bin/busybox").write_bytes((busybox / "bin/busybox").read_bytes())
    (image / "bin/busybox").chmod(0o755)
    (image / "link").symlink_to(outside)
    (data / "x").write_text("here\n")
    volume = f"{data}:/link/v"
    done = wherryd.cli("run", "--rm", "-v", volume, image, "/bin/busybox", "cat", "/link/v/x")
    assert os.listdir(outside) == [], "a mount target was made outside of the container"
    assert (done.exit_code, done.stdout) in {(0, "here\n"), (125, "")}, done


def test_tmpfs_with_size_and_mode(wherryd: Daemon, busybox: Path) -> None:
    script = (
        "stat -c %a /scratch; df -k /scratch | awk 'NR==2{print $2}'; grep -c ' /scratch tmpfs ' /proc/mounts"
    )
    flags = ["--tmpfs", "/scratch:size=3m,mode=750"]
    assert ok(wherryd, "run", "--rm", *flags, busybox, "sh", "-c", script).split() == ["750", "3072", "1"]
    done = wherryd.cli(
        "run", "--rm", *flags, busybox, "dd", "if=/dev/zero", "of=/scratch/f", "bs=1M", "count=4"
    )
    assert "No space left" in done.stderr, "the tmpfs is larger than was asked for"


def test_tmpfs_executes_only_if_asked(wherryd: Daemon, busybox: Path) -> None:
    script = "cp /bin/busybox /t/true && /t/true"
    assert ok(wherryd, "run", "--rm", "--tmpfs", "/t:exec", busybox, "sh", "-c", script) == ""
    assert wherryd.cli("run", "--rm", "--tmpfs", "/t", busybox, "sh", "-c", script).exit_code == 126


# -- who and where -----


def test_the_working_directory_is_made(wherryd: Daemon, busybox: Path) -> None:
    assert ok(wherryd, "run", "--rm", "-w", "/made/up", busybox, "pwd") == "/made/up\n"
    assert ok(wherryd, "run", "--rm", busybox, "pwd") == "/\n"


def test_a_user_is_who_the_image_says(wherryd: Daemon, busybox: Path) -> None:
    expected = {
        "user": "uid=1000(user) gid=1000(user) groups=2000(extra)",
        "1000": "uid=1000(user) gid=1000(user) groups=2000(extra)",
        "user:extra": "uid=1000(user) gid=2000(extra)",
        "1234:5678": "uid=1234 gid=5678",
        "1234": "uid=1234 gid=0(root)",
        "root": "uid=0(root) gid=0(root)",
    }
    for user, printed in expected.items():
        said = ok(wherryd, "run", "--rm", "-u", user, busybox, "id").strip()
        assert said.removesuffix(" groups=0(root)") == printed, f"-u {user}"


def test_a_user_is_no_root(wherryd: Daemon, busybox: Path) -> None:
    script = "touch /canary 2>/dev/null || echo denied; grep CapEff /proc/self/status"
    said = ok(wherryd, "run", "--rm", "-u", "user", busybox, "sh", "-c", script).split()
    assert said == ["denied", "CapEff:", "0" * 16], "a user that is not root has root's powers"


def test_the_hostname(wherryd: Daemon, busybox: Path) -> None:
    script = "hostname; cat /etc/hostname; grep -c 'box-1' /etc/hosts"
    said = ok(wherryd, "run", "--rm", "--hostname", "box-1", busybox, "sh", "-c", script)
    assert said.split() == ["box-1", "box-1", "2"]


def test_the_hostname_is_the_short_id_by_default(wherryd: Daemon, busybox: Path) -> None:
    said = ok(wherryd, "run", "--name", "named", busybox, "hostname").strip()
    assert said == field(wherryd, "named", "Id")[:12]
    assert os.uname().nodename == socket.gethostname(), "the host's own name was changed"


# -- command -----


def test_options_end_at_the_image(wherryd: Daemon, busybox: Path) -> None:
    """What looks like ours after it is the command's."""
    assert ok(wherryd, "run", "--rm", busybox, "echo", "-d", "--rm", "--name", "-e") == "-d --rm --name -e\n"
    assert ok(wherryd, "run", "--rm", "--", busybox, "echo", "--") == "--\n"


def test_flags_in_all_their_spellings(wherryd: Daemon, busybox: Path) -> None:
    printed = ok(
        wherryd, "run", "-i", "--rm", "-eA=1", "--env=B=2", "-nshort", busybox, "sh", "-c", "echo $A$B"
    )
    assert printed == "12\n"
    ok(wherryd, "run", "-id", "--name=long", busybox, "true")
    assert names(wherryd, "-a") == ["long"]


def test_the_entry_point(wherryd: Daemon, busybox: Path) -> None:
    assert ok(wherryd, "run", "--rm", "--entrypoint", "echo", busybox, "a", "b") == "a b\n"
    assert ok(wherryd, "run", "--rm", "--entrypoint", "", busybox, "echo", "cleared") == "cleared\n"
    assert ok(wherryd, "run", "--rm", "--entrypoint", "/bin/hostname", "--hostname", "h", busybox) == "h\n"


def test_init_reaps_and_passes_signals_on(wherryd: Daemon, busybox: Path) -> None:
    """A command that does not handle SIGTERM ends at once under an init, with the signal's code."""
    with running(
        wherryd, "run", "--init", "--name", "kept", busybox, "sh", "-c", "echo $$; exec sleep 1000"
    ) as run:
        assert int(read_line(run)) > 1, "the command itself is process 1"
        ok(wherryd, "stop", "-t", "60", "kept", timeout=20)
        assert finish(run)[0] == 143
    # The init hears of its orphan when the sleep has ended, and reaps it then: within two seconds.
    zombies = "ps -o stat,comm | grep -c ^Z"
    patience = f"n=0; while [ $({zombies}) != 0 ] && [ $n -lt 100 ]; do usleep 20000; n=$((n+1)); done"
    script = f"sh -c 'true & exec sleep 0.2'; {patience}; {zombies}; true"
    assert ok(wherryd, "run", "--rm", "--init", busybox, "sh", "-c", script) == "0\n", "zombies are left"


def test_a_stop_signal_and_its_timeout(wherryd: Daemon, busybox: Path) -> None:
    traps = "trap 'echo usr1; exit 3' USR1; trap 'echo term; exit 4' TERM"
    script = f"{traps}; echo up; while :; do sleep 1 & wait $!; done"
    flags = ["--stop-signal", "USR1", "--stop-timeout", "30"]
    container = detached(wherryd, *flags, busybox, "sh", "-c", script)
    await_line(wherryd, container, "up")
    ok(wherryd, "stop", container)
    assert ok(wherryd, "logs", container).split() == ["up", "usr1"]
    config = inspect(wherryd, container)["Config"]
    assert (config["StopSignal"], config["StopTimeout"]) == ("SIGUSR1", 30)


def test_a_stop_timeout_of_nothing_kills(wherryd: Daemon, busybox: Path) -> None:
    container = detached(wherryd, "--stop-timeout", "0", busybox, "sleep", "1000")
    ok(wherryd, "stop", container)
    assert field(wherryd, container, "State.ExitCode") == "137"


# -- limits and the rest -----


def test_ulimits(wherryd: Daemon, busybox: Path) -> None:
    flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "CPU=unlimited"]
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -t"
    said = ok(wherryd, "run", "--rm", *flags, busybox, "sh", "-c", script).split()
    assert said == ["100", "200", "0", "unlimited"]


def test_a_read_only_root(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """Volumes, tmpfs and /dev stay what they are."""
    flags = ["--read-only", "--tmpfs", "/t", "-v", f"{tmp_path}:/v"]
    script = "touch /x 2>&1; touch /etc/hosts 2>/dev/null; touch /t/x /v/x /dev/shm/x && echo written"
    said = ok(wherryd, "run", "--rm", *flags, busybox, "sh", "-c", script)
    assert "Read-only file system" in said
    assert said.endswith("written\n")


def test_a_read_only_root_still_has_its_mount_points(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    said = ok(
        wherryd, "run", "--rm", "--read-only", "-w", "/new/dir", "-v", f"{tmp_path}:/a/b/c", busybox, "pwd"
    )
    assert said == "/new/dir\n"


def test_labels(wherryd: Daemon, busybox: Path) -> None:
    flags = ["--label", "app=web", "--label", "flag", "--label", "eq=a=b"]
    container = ok(wherryd, "create", *flags, busybox, "true").strip()
    labels = inspect(wherryd, container)["Config"]["Labels"]
    assert labels == {"app": "web", "flag": "", "eq": "a=b"}


def test_a_cidfile_holds_the_id(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    for command in (["create"], ["run", "-d"], ["run"]):
        file = tmp_path / "-".join(command)
        ok(wherryd, *command, "--cidfile", file, busybox, "true")
        assert field(wherryd, file.read_text(), "Id") == file.read_text(), command


def test_a_cidfile_is_never_overwritten_nor_left_empty(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    taken, fresh = tmp_path / "taken", tmp_path / "fresh"
    taken.write_text("mine")
    assert "taken" in refused(wherryd, "run", "--cidfile", taken, busybox, "true")
    assert taken.read_text() == "mine"
    refused(wherryd, "run", "--cidfile", fresh, busybox, "missing", code=127)
    refused(wherryd, "run", "--cidfile", fresh, tmp_path / "nothing", "true")
    assert not fresh.exists(), "a failed run left its id file"
    assert names(wherryd, "-a") == []


@pytest.mark.parametrize("flags", [[], ["--network", "none"]])
def test_network_none_is_a_loopback_that_is_up(wherryd: Daemon, busybox: Path, flags: list[str]) -> None:
    script = "ls /sys/class/net; ip link show lo"
    said = ok(wherryd, "run", "--rm", *flags, busybox, "sh", "-c", script)
    assert said.startswith("lo\n1: lo: <LOOPBACK,UP"), f"not a loopback that is up, and nothing else: {said}"


def test_network_host_is_the_hosts(wherryd: Daemon, busybox: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ok(wherryd, "run", "--rm", "--network", "host", busybox, "nc", "127.0.0.1", str(port), "-e", "true")
        done = wherryd.cli("run", "--rm", busybox, "nc", "127.0.0.1", str(port), "-e", "true")
        assert done.exit_code == 1, "a container of network none reached the host's loopback"
    inside = ok(wherryd, "run", "--rm", "--network", "host", busybox, "readlink", "/proc/self/ns/net")
    assert inside.strip() == os.readlink("/proc/self/ns/net")


def test_every_namespace_is_its_own(wherryd: Daemon, busybox: Path) -> None:
    kinds = ["mnt", "pid", "uts", "ipc", "net", "cgroup"]
    script = "for kind in " + " ".join(kinds) + "; do readlink /proc/self/ns/$kind; done; echo $$"
    *found, pid = ok(wherryd, "run", "--rm", busybox, "sh", "-c", script).split()
    ours = {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
    assert len(found) == len(kinds)
    assert not ours.intersection(found), "a namespace is shared with the host"
    assert pid == "1"


def test_only_three_descriptors_are_inside(wherryd: Daemon, busybox: Path) -> None:
    for flags in ([], ["-i"]):
        said = ok(wherryd, "run", "--rm", *flags, busybox, "sh", "-c", "ls /proc/$$/fd; :")
        # In no pipeline: the shell holds its ends for a moment. Not the last: it would replace the shell.
        assert said.split() == ["0", "1", "2"], "a descriptor of the supervisor's is in the container"


def test_dry_run_prints_the_plan_and_does_nothing(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    flags = ["--name", "unreal", "-v", f"{tmp_path}:/data:ro", "-u", "user", "-e", "A=b"]
    printed = ok(wherryd, "run", "--dry-run", *flags, busybox, "sh", "-c", "touch /data/canary")
    for words in (f"{tmp_path} on /data", "proc on /proc", "mask", "capabilities", "user", "sh"):
        assert words in printed, f"the plan does not tell of {words!r}: {printed}"
    assert names(wherryd, "-a") == []
    assert wait_for(lambda: not os.listdir(wherryd.state_dir / "containers"))


def test_create_takes_what_run_takes(wherryd: Daemon, busybox: Path) -> None:
    flags = ["-i", "-e", "A=b", "-w", "/tmp", "-u", "user", "--hostname", "h", "--read-only", "--init"]
    flags += [
        "--ulimit",
        "core=0:1",
        "--label",
        "l=v",
        "--stop-signal",
        "INT",
        "--rm",
        "--tmpfs",
        "/t:size=1m",
    ]
    container = ok(
        wherryd, "create", *flags, "-v", "/etc:/e:ro", "--network", "none", busybox, "true"
    ).strip()
    document = json.loads(ok(wherryd, "inspect", container))[0]
    host = document["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Init"] is True
    assert host["AutoRemove"] is True
    assert host["Binds"] == ["/etc:/e:ro"]
    assert host["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 1}]
    assert document["Config"]["User"] == "user"
    assert document["Config"]["WorkingDir"] == "/tmp"
    assert document["State"]["Status"] == "created"
