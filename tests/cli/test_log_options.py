"""`--log-opt`, as users see it: what is kept, what is shown of it, and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import field, ok, refused
from support.forms import rounds

from wherry import LogOptions, Output, RunSpec
from wherry_protocol.errors import BadRequest
from wherryd.logs.limits import LogLimits
from wherryd.settings import load_settings

if TYPE_CHECKING:
    from support.daemon import Daemon

QUIET = ("--network", "none")


def numbers(last: int) -> str:
    return "".join(f"{number}\n" for number in range(1, last + 1))


def test_options_are_shown_in_dockers_words(wherryd: Daemon, busybox: Path) -> None:
    """Also what nobody asked for, which is on by default."""
    ok(wherryd, "create", "--name", "plain", busybox, "true")
    options = ("max-size=1.5m", "max-file=7", "compress=false", "mode=non-blocking", "max-buffer-size=64KiB")
    flags = [word for option in options for word in ("--log-opt", option)]
    ok(wherryd, "create", "--name", "said", *flags, busybox, "true")
    ok(wherryd, "create", "--name", "free", "--log-opt", "max-size=-1", busybox, "true")
    shown = [json.loads(ok(wherryd, "inspect", name))[0] for name in ("plain", "said", "free")]
    configs = [each["HostConfig"]["LogConfig"]["Config"] for each in shown]
    assert configs[0] == {"max-size": "64m", "max-file": "4", "compress": "true", "mode": "blocking"}
    assert configs[1] == {
        "max-size": "1536k", "max-file": "7", "compress": "false", "mode": "non-blocking",
        "max-buffer-size": "64k",
    }  # fmt: skip
    assert configs[2]["max-size"] == "0"
    assert shown[0]["LogDropped"] == {"Bytes": 0, "Lines": 0}


def test_a_small_log_is_kept_packed_and_read_as_one(wherryd: Daemon, busybox: Path) -> None:
    """Four files of 64 KiB, three of them packed within moments; whole lines but for the first one."""
    options = ("--log-opt", "max-size=64k")
    whole = numbers(100_000)
    assert ok(wherryd, "run", "--name", "many", *options, *QUIET, busybox, "seq", "100000") == whole
    folder = Path(field(wherryd, "many", "LogPath")).parent
    deadline = time.monotonic() + 20
    while len(list(folder.glob("log.*.gz"))) < 3 or _raw(folder) != ["log"]:
        assert time.monotonic() < deadline, sorted(folder.iterdir())
        time.sleep(0.05)
    kept = ok(wherryd, "logs", "many")
    assert whole.endswith(kept)
    assert 3 * 65536 < len(kept) <= 4 * 65536
    assert ok(wherryd, "logs", "--tail", "30000", "many") == "".join(whole.splitlines(keepends=True)[-30000:])
    assert sum(path.stat().st_size for path in folder.glob("log*")) < 2.5 * 65536
    ok(wherryd, "rm", "many")
    assert not folder.exists()


def _raw(folder: Path) -> list[str]:
    """Return the pieces that are not packed."""
    names = (path.name for path in folder.glob("log*"))
    return [name for name in names if "index" not in name and not name.endswith(".gz")]


@pytest.mark.alone  # a reader who stands still for half a second is not waited for
def test_the_output_of_a_run_is_whole_though_its_log_is_not(wherryd: Daemon, busybox: Path) -> None:
    """Whoever is attached and reads gets all of it, also of a log of one kilobyte that goes at the end."""
    options = ("--log-opt", "max-size=1k", "--log-opt", "max-file=1")
    assert ok(wherryd, "run", "--rm", *options, *QUIET, busybox, "seq", "20000") == numbers(20_000)
    log = LogOptions(max_size=1024, max_file=1)
    with wherryd.client() as client:
        spec = RunSpec(image=str(busybox), command=("seq", "20000"), auto_remove=True, log=log)
        # Again and again: its first bytes may be moved before anybody has said that he reads.
        results = [client.run(spec) for _ in range(rounds(short=4, long=50))]
    assert [(each.stdout.decode(), each.missing) for each in results] == [(numbers(20_000), 0)] * len(results)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["max-size=big"], "max-size='big' is no size (write 65536"), (["max-size=1023"], "out of range"),
        (["max-size=-2"], "no size"), (["max-size="], "no size"), (["max-size=1.x"], "no size"),
        (["max-size=999999999999999t"], "out of range"), (["max-file=0"], "out of range (1 to 1000)"),
        (["max-file=1001"], "out of range"), (["max-file=two"], "no number of files"),
        (["compress=yes"], "neither true nor false"), (["mode=async"], "unknown (blocking or non-blocking)"),
        (["max-sise=1m"], "'max-sise' is unknown"), (["max-size"], "a value is missing"), ([""], "unknown"),
        (["max-buffer-size=1m"], "goes with mode=non-blocking only"),
        (["mode=non-blocking", "max-buffer-size=1g"], "out of range (4096 to"),
        (["mode=non-blocking", "max-buffer-size=100"], "out of range"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    wherryd: Daemon, busybox: Path, options: list[str], word: str
) -> None:
    flags = [part for option in options for part in ("--log-opt", option)]
    for verb in ("run", "create"):
        assert word in refused(wherryd, verb, "--name", "no", *flags, busybox, "true")
    assert ok(wherryd, "ps", "-a", "-q", "--filter", "name=no") == ""


def test_the_configuration_says_what_a_log_is_bound_to(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[log]\nmax_size = "10m"\nmax_file = 2\ncompress = false\nmode = "non-blocking"\n')
    found = load_settings(environ={}, config_file=file).log
    assert found == LogLimits(max_size=10 << 20, max_file=2, compress=False, blocking=False)
    asked = LogOptions(max_file=9)
    assert found.fill_in(asked) == LogOptions(
        max_size=10 << 20, max_file=9, compress=False, mode="non-blocking"
    )
    assert load_settings(environ={}, config_file=tmp_path / "none").log == LogLimits()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("log = 5", "log must be a table"), ("[log]\nsize = 1", "unknown setting size"),
        ("[log]\nmax_file = 0", "max-file=0 is out of range"), ("[log]\nmax_file = true", "must be int"),
        ("[log]\nmax_size = 1.5", "must be int or str"), ('[log]\nmode = "x"', "mode='x' is unknown"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_wrong_is_named(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(BadRequest) as caught:
        load_settings(environ={}, config_file=file)
    assert str(caught.value).startswith(str(file))
    assert word in str(caught.value)


def log_of(daemon: Daemon, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(ok(daemon, "inspect", name))[0]["HostConfig"]["LogConfig"]["Config"]
    return found


def test_update_changes_the_log_of_what_runs(wherryd: Daemon, busybox: Path) -> None:
    """From the next byte on, and on record: what is not said stays; what makes no sense changes nothing."""
    script = "while read n; do seq $n; done"
    with wherryd.client() as client:
        command = ("sh", "-c", script)
        spec = RunSpec(image=str(busybox), command=command, name="talks", stdin=True)
        with client.run_stream(spec) as stream:
            output = iter(stream)
            next(output)
            with open(stream.take_fd(), "wb", buffering=0) as stdin:
                flags = ("--log-opt", "max-size=1k", "--log-opt", "max-file=2", "--log-opt", "compress=false")
                assert ok(wherryd, "update", *flags, "talks") == "talks\n"
                stdin.write(b"2000\n")
            client.close_stdin("talks")
            printed = b"".join(each.data for each in output if isinstance(each, Output))
        assert printed.decode() == numbers(2000)
        folder = Path(field(wherryd, "talks", "LogPath")).parent
        kept = ok(wherryd, "logs", "talks")
        assert numbers(2000).endswith(kept)
        assert 1024 < len(kept) <= 2048
        assert len([each for each in folder.glob("log*") if "index" not in each.name]) == 2
        ok(wherryd, "update", "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k", "talks")
        ok(wherryd, "update", "--log-opt", "mode=blocking", "talks")
        expected = {"max-size": "1k", "max-file": "2", "compress": "false", "mode": "blocking"}
        assert log_of(wherryd, "talks") == expected
        assert "goes with mode=non-blocking only" in refused(
            wherryd, "update", "--log-opt", "max-buffer-size=64k", "--log-opt", "max-file=9", "talks"
        )
        assert "out of range" in refused(wherryd, "update", "--log-opt", "max-size=3", "talks")
        assert log_of(wherryd, "talks") == expected


def test_settings_that_are_read_again_hold_for_new_containers(
    fresh_wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """/etc/wherry/config.toml, in a mount namespace of this test's own."""
    file = tmp_path / "etc/wherry/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[log]\nmax_file = 3\n")
    fresh_wherryd.terminate()
    script = f'mount -t overlay none -o lowerdir={tmp_path}/etc:/etc /etc && exec "$@"'
    fresh_wherryd.prefix = ("unshare", "--mount", "sh", "-c", script, "sh")
    fresh_wherryd.start()
    ok(fresh_wherryd, "create", "--name", "old", busybox, "true")
    file.write_text('[log]\nmax_file = 2\nmax_size = "1k"\n')
    done = ok(fresh_wherryd, "system", "reload")
    assert "log" in done, done
    assert "max-size=1024,max-file=2" in done, done
    assert ok(fresh_wherryd, "run", "--name", "new", *QUIET, busybox, "seq", "2000") == numbers(2000)
    assert [log_of(fresh_wherryd, name)["max-file"] for name in ("old", "new")] == ["3", "2"]
    assert len(ok(fresh_wherryd, "logs", "new")) <= 2048
