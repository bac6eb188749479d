"""Bad input: exit code 125, exactly one line that says what and where, nothing touched, nothing left."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import zstandard
from clikit import detached, kept, ok, refused, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon


@pytest.fixture
def untouched(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor whose containers and images are the same after the test."""
    before, containers = kept(wherryd), wherryd.container_ids()
    yield wherryd
    clean = wait_for(lambda: not kept(wherryd) - before)
    assert clean, f"a refused request left {sorted(kept(wherryd) - before)[:5]}"
    assert wherryd.container_ids() == containers, "a refused request made or removed a container"


AT_ONCE = 4
"""Commands beside each other: most of a refusal's time is its start."""

RUN_FLAGS: list[tuple[list[str], str]] = [
    (["--nope"], "--nope"),
    (["-x"], "-x"),
    (["--rm=yes"], "--rm"),
    (["--memory", "1q"], "--memory"),
    (["-e", "=x"], "=x"),
    (["-e", ""], "-e"),
    (["-e", "A B=x"], "A B"),
    (["--env-file", "/nowhere/env"], "/nowhere/env"),
    (["--env-file", "/etc"], "/etc"),
    (["-v", "nonsense"], "nonsense"),
    (["-v", "relative/target"], "relative/target"),
    (["-v", ":/x"], ":/x"),
    (["-v", "/etc:/x:rx"], "rx"),
    (["-v", "/etc:/x:ro:rw"], "/etc:/x:ro:rw"),
    (["-v", "no+name:/x"], "no+name"),
    (["-v", "/nowhere:/x"], "/nowhere"),
    (["-v", "/etc:relative"], "relative"),
    (["-v", "/etc:/"], "root"),
    (["-v", "/etc://"], "root"),
    (["-v", "/etc:/proc"], "/proc"),
    (["-v", "/etc:/proc/sys/"], "/proc"),
    (["-v", "/etc:/sys"], "/sys"),
    (["-v", "/etc:/dev/shm"], "/dev"),
    (["-v", "/etc:/x/../proc"], ".."),
    (["-v", "/etc:/x", "-v", "/usr:/x/"], "twice"),
    (["--tmpfs", "relative"], "relative"),
    (["--tmpfs", "/"], "root"),
    (["--tmpfs", "/proc"], "/proc"),
    (["--tmpfs", "/t:size=much"], "much"),
    (["--tmpfs", "/t:size=12q"], "12q"),
    (["--tmpfs", "/t:size=-1"], "-1"),
    (["--tmpfs", "/t:size=0"], "0"),
    (["--tmpfs", "/t:mode=999"], "mode=999"),
    (["--tmpfs", "/t:suid"], "suid"),
    (["-u", "nobody-here"], "nobody-here"),
    (["-u", "user:nogroup-here"], "nogroup-here"),
    (["-u", "a:b:c"], "a:b:c"),
    (["-u", "a b"], "a b"),
    (["-u", "root\n"], "root"),
    (["-u", ":"], ":"),
    (["-u", "-1"], "-1"),
    (["-u", "+0"], "+0"),
    (["-u", "4294967295"], "4294967295"),
    (["-u", "4294967296"], "4294967296"),
    (["-w", "relative"], "relative"),
    (["-w", "/etc/passwd"], "/etc/passwd"),
    (["--hostname=-bad"], "-bad"),
    (["--hostname", "a b"], "a b"),
    (["--hostname", "x" * 64], "63"),
    (["--name="], "name"),
    (["--name=-x"], "-x"),
    (["--name", "a/b"], "a/b"),
    (["--name", "../x"], "../x"),
    (["--name", "a b"], "a b"),
    (["--name", "a\nb"], "name"),
    (["--name", "x" * 129], "128"),
    (["--ulimit", "nonsense"], "nonsense"),
    (["--ulimit", "nope=1"], "nope"),
    (["--ulimit", "nofile=many"], "many"),
    (["--ulimit", "nofile=2:1"], "above"),
    (["--ulimit", "nofile=1:2:3"], "1:2:3"),
    (["--ulimit", f"core={1 << 64}"], "range"),
    (["--label", "=x"], "=x"),
    (["--stop-signal", "NOPE"], "NOPE"),
    (["--stop-signal", "0"], "0"),
    (["--stop-signal", "65"], "65"),
    (["--stop-timeout", "soon"], "soon"),
    (["--stop-timeout", "nan"], "nan"),
    (["--stop-timeout", "inf"], "inf"),
    (["--network", "no_such"], "no network no_such"),
    (["--cidfile", "/nowhere/cid"], "/nowhere/cid"),
]


@pytest.mark.parametrize("flag", list(dict.fromkeys(flags[0].partition("=")[0] for flags, _ in RUN_FLAGS)))
def test_run_refuses(untouched: Daemon, busybox: Path, flag: str) -> None:
    cases = [case for case in RUN_FLAGS if case[0][0].partition("=")[0] == flag]

    def check(case: tuple[list[str], str]) -> None:
        flags, word = case
        line = refused(untouched, "run", "--rm", *flags, busybox, "true")
        assert word in line, f"{flags}: the line does not name {word!r}: {line}"

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(check, cases))


COMMANDS: list[tuple[list[str], str]] = [
    (["frobnicate"], "frobnicate"),
    (["--frob"], "--frob"),
    (["--run-dir"], "--run-dir"),
    (["run"], "image"),
    (["run", "-d"], "image"),
    (["run", "-e"], "-e"),
    (["run", ""], "image"),
    (["run", "no-such-image", "true"], "no-such-image"),
    (["run", "/nowhere/image", "true"], "/nowhere/image"),
    (["run", "./nowhere", "true"], "nowhere"),
    (["run", "/dev/null", "true"], "/dev/null"),
    (["run", "/", "true"], "host"),
    (["create", "no-such-image"], "no-such-image"),
    (["ps", "extra"], "extra"),
    (["ps", "--nope"], "--nope"),
    (["start", "-a", "x", "y"], "one"),
    *(([verb], "CONTAINER") for verb in "start stop kill restart wait rm pause unpause logs".split()),
    (["inspect"], "NAME"),
    *(([verb, "nobody"], "nobody") for verb in "start stop kill restart wait rm pause unpause logs".split()),
    *(([verb, "../x"], "../x") for verb in "start stop rm logs".split()),
    (["start", "-a", "nobody"], "nobody"),
    (["rm", "-f", "nobody"], "nobody"),
    (["rm", ""], "''"),
    (["stop", "-t", "soon", "nobody"], "soon"),
    (["rename", "nobody"], "NAME"),
    (["rename", "nobody", "x"], "nobody"),
    (["rmi"], "IMAGE"),
    (["rmi", "nobody"], "nobody"),
    (["import"], "FILE"),
    (["import", "/nowhere/file"], "/nowhere/file"),
    (["images", "--format", "{{"], "format"),
    (["help", "frobnicate"], "frobnicate"),
    (["info", "--format", "{{.Nope}}"], "Nope"),
]  # fmt: skip


@pytest.mark.parametrize("verb", list(dict.fromkeys(words[0] for words, _ in COMMANDS)))
def test_a_verb_refuses(untouched: Daemon, verb: str) -> None:
    def check(case: tuple[list[str], str]) -> None:
        words, named = case
        line = refused(untouched, *words)
        assert named in line, f"{words}: the line does not name {named!r}: {line}"

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(check, [case for case in COMMANDS if case[0][0] == verb]))


def test_what_a_running_container_refuses(wherryd: Daemon, busybox: Path) -> None:
    """It is the same one afterwards, still running."""
    detached(wherryd, "--name", "on", busybox, "sleep", "1000")
    before = wherryd.cli("inspect", "on").stdout
    for words in (
        ["start", "on"], ["start", "-a", "on"], ["rm", "on"], ["unpause", "on"], ["rename", "on", "a/b"],
        ["kill", "-s", "NOPE", "on"], ["kill", "-s", "0", "on"], ["kill", "-s", "99", "on"],
        ["stop", "-t", "nan", "on"], ["restart", "-t", "nan", "on"],
        ["run", "--name", "on", str(busybox), "true"], ["create", "--name", "on", str(busybox), "true"],
    ):  # fmt: skip
        refused(wherryd, *words)
    assert wherryd.cli("inspect", "on").stdout == before


def test_inspect_of_what_is_not_there_prints_an_empty_array(wherryd: Daemon) -> None:
    """As docker does, so that a script's jq has something to read."""
    done = wherryd.cli("inspect", "nobody")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (125, "[]\n", 1)
    assert "nobody" in done.stderr


def test_an_image_without_a_command_needs_one(untouched: Daemon, busybox: Path) -> None:
    assert "no default command" in refused(untouched, "run", busybox)
    assert "no default command" in refused(untouched, "create", busybox)
    assert "empty" in refused(untouched, "run", busybox, "")


@pytest.mark.parametrize(
    "words", [["logs", "--tail", "9" * 30], ["logs", "--since", "9" * 400], ["stop", "-t", "inf"]]
)
def test_numbers_beyond_all_bounds(wherryd: Daemon, busybox: Path, words: list[str]) -> None:
    ok(wherryd, "run", "--name", "over", busybox, "true")
    refused(wherryd, *words, "over")


def test_a_command_line_too_long_for_a_request(untouched: Daemon, busybox: Path) -> None:
    assert "at most" in refused(untouched, "run", "--rm", busybox, "echo", *["x" * 120_000] * 9)


def test_a_mount_that_does_not_fit_names_its_target(untouched: Daemon, busybox: Path) -> None:
    for volume, target in (
        ("/etc/passwd:/bin", "/bin"), ("/etc:/etc/passwd", "/etc/passwd"), ("/etc:/bin/sh/x", "/bin/sh/x"),
    ):  # fmt: skip
        line = refused(untouched, "run", "--rm", "-v", volume, busybox, "true")
        assert target in line, f"the line does not name the target {target}: {line}"


def test_wherrys_own_directories_are_no_volumes_and_no_images(untouched: Daemon, busybox: Path) -> None:
    for own in (untouched.state_dir, untouched.run_dir, untouched.state_dir / "containers"):
        assert "wherry's own" in refused(untouched, "run", "-v", f"{own}:/x", busybox, "true")
    assert "state directory" in refused(untouched, "run", untouched.state_dir, "true")


# -- archives -----


def archive_of(*entries: tuple[str, dict[str, object]]) -> bytes:
    """Return a tar archive of entries with these attributes."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, attributes in entries:
            info = tarfile.TarInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info)
    return data.getvalue()


EVIL = {
    "a name that leads out": ("../../canary", {}),
    "a hard link that leads out": ("canary", {"type": tarfile.LNKTYPE, "linkname": "../../canary"}),
    "a hard link to nothing": ("canary", {"type": tarfile.LNKTYPE, "linkname": "nothing"}),
}


@pytest.mark.parametrize("what", EVIL)
def test_an_archive_with_an_escape_is_refused(untouched: Daemon, tmp_path: Path, what: str) -> None:
    (tmp_path / "evil.tar").write_bytes(archive_of(EVIL[what]))
    assert "canary" in refused(untouched, "run", "--rm", tmp_path / "evil.tar", "true")
    # os.walk, unlike rglob, does not mind what is removed meanwhile.
    names = {name for _, folders, files in os.walk(untouched.root) for name in (*folders, *files)}
    assert "canary" not in names, f"{what} wrote outside"


def test_what_is_no_archive(untouched: Daemon, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    noise = random.Random(1).randbytes(20_000)
    contents = {"text": b"hello\n" * 1000, "zeros": b"\0" * 100, "noise": noise}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        assert "no tar archive" in refused(untouched, "run", tmp_path / name, "true")
        assert "no tar archive" in refused(untouched, "import", tmp_path / name)
    (tmp_path / "empty").touch()
    assert "empty" in refused(untouched, "run", tmp_path / "empty", "true")
    assert "fifo" in refused(untouched, "run", fifo, "true")


@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "zst"])
def test_a_truncated_archive(untouched: Daemon, busybox_tar: Archives, tmp_path: Path, kind: str) -> None:
    data = getattr(busybox_tar, kind).read_bytes()
    for size in (len(data) // 2, len(data) - 20_000 if kind == "tar" else len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:size])
        line = refused(untouched, "run", tmp_path / "cut", "true")
        assert "cut" in line, f"the line does not name the archive: {line}"


@pytest.mark.parametrize("kind", ["gz", "xz", "zst"])
def test_a_corrupt_archive(untouched: Daemon, busybox_tar: Archives, tmp_path: Path, kind: str) -> None:
    data = bytearray(getattr(busybox_tar, kind).read_bytes())
    if kind == "zst":  # as the zstd command writes it; without a checksum a changed byte may go unseen
        data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(busybox_tar.tar.read_bytes()))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "flipped").write_bytes(data)
    assert "flipped" in refused(untouched, "run", tmp_path / "flipped", "true")


def test_a_refused_archive_can_be_mended_and_used(
    wherryd: Daemon, busybox_tar: Archives, tmp_path: Path
) -> None:
    """Nothing of the broken one is taken for the whole."""
    archive = tmp_path / "image"
    archive.write_bytes(busybox_tar.gz.read_bytes()[:-1000])
    refused(wherryd, "run", "--rm", archive, "true")
    archive.write_bytes(busybox_tar.gz.read_bytes())
    assert ok(wherryd, "run", "--rm", archive, "echo", "whole") == "whole\n"
    ok(wherryd, "rmi", "-f", f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}")
